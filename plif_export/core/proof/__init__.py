"""The proof that an exported artifact spikes like its model.

interpret   the golden model: a graph, step by step, in NumPy
reference   the expected behaviour of the model;  subject: the artifact under test, as a sliced_file or an engine's
            session
gate        the checks, with forced and probe;  compare: the tolerance of two results
report      the result
"""
