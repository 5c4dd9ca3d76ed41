ABOUT = "What moves values and changes none: other shapes and orders, parts, padding, several side by side."
CONTRACT = "Operation"
NAMES = (
    "Reshape",
    "Permute",
    "Slice",
    "Concat",
    "Pad",
    "PixelShuffle",
)
