ABOUT = "Norse's LIF cells and NIR's neurons: forward Euler."
CONTRACT = "Neuron"
NAMES = ("LIFBox", "LIFCell", "NIR-IF", "NIR-LIF", "NIR-CubaLIF")
