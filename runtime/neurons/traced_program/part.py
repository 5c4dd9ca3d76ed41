ABOUT = "Any elementwise neuron, as a program in its node."
CONTRACT = "Neuron"
NAMES = ("Traced",)
