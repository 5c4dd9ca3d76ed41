ABOUT = "Third-party and custom neurons and layers."
CONTRACT = "Reader"
NAMES = ()
PAGE = "docs/own-neurons.md"
GIVES = {"register_layer": "layers:register_layer", "register_neuron": "neurons:register_neuron"}
