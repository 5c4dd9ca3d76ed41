ABOUT = "Transposed convolutions."
CONTRACT = "Operation"
NAMES = ("ConvTranspose",)
