ABOUT = "Arrays that NumPy has saved, .npz and .npy."
CONTRACT = "Format"
NAMES = ("npz", "npy")
MAGIC = (b"PK\x03\x04", b"PK\x05\x06", b"\x93NUMPY")  # the second is a zip of nothing
NEEDS = ("runtime/formats/columns",)
PAGE = "docs/events.md"
