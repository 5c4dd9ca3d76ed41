"""A live nn.Module -> SNN graph, by running it: reader.py leads through it."""
