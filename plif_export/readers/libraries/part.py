ABOUT = "Neurons and layers of other libraries, and of your own."
CONTRACT = "Reader"
NAMES = ()
PAGE = "docs/own-neurons.md"
GIVES = {"register_layer": "layers:register_layer", "register_neuron": "neurons:register_neuron"}
