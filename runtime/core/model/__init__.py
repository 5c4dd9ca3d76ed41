"""The description of a network, without any code that runs it.

notation    the strings of the paper's Table S1
neurons     the equations of all neurons
graph       layers, attributes and weights of an exported network
card        the metadata record in a file; artifacts: the kinds of files; readers: their bytes
"""
