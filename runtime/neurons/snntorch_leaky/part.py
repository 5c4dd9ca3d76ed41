ABOUT = "Leaky of snnTorch."
CONTRACT = "Neuron"
NAMES = ("Leaky",)
