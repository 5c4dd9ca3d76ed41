ABOUT = "CIFAR10-DVS, images that move in front of a DVS128, in AEDAT 2.0."
CONTRACT = "DataSet"
NAMES = ("cifar10-dvs",)
