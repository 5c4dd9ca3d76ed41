"""The network: neurons and their gradients, layers for training, a notation string as a module, presets."""
