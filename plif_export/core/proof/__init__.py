"""The proof that an artifact does what the model does, in spikes.

interpret   the golden model: a graph, step by step, in NumPy
reference   what the model does;  subject: what is asked, as a sliced_file or an engine's session
gate        the questions, with forced and probe;  compare: when two answers are equal
report      what came of it
"""
