ABOUT = "Maps of other sizes: resized, pooled to a size, and transposed convolutions."
CONTRACT = "Operation"
NAMES = (
    "Resize",
    "GlobalAvgPool",
    "AdaptiveAvgPool",
    "ConvTranspose",
)
