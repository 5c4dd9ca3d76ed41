ABOUT = "Moves values without changing them: reshape, permute, slice, pad, concatenate."
CONTRACT = "Operation"
NAMES = (
    "Reshape",
    "Permute",
    "Slice",
    "Concat",
    "Pad",
    "PixelShuffle",
)
