"""What a network is, without anything that runs it.

notation    the strings of the paper's Table S1
neurons     the equations of all neurons
graph       layers, attributes and weights of an exported network
card        what a file says of itself; artifacts: which kind of file it is; readers: its bytes
"""
