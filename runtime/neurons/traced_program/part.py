ABOUT = "Any elementwise neuron, as a program that its node carries."
CONTRACT = "Neuron"
NAMES = ("Traced",)
