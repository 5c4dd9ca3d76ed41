ABOUT = "HDF5 with events in it, as of DSEC and TUM-VIE."
CONTRACT = "Format"
MAGIC = b"\x89HDF\r\n\x1a\n"
REQUIRES = ("h5py",)
EXTRA = "hdf5"
NEEDS = ("runtime/formats/child", "runtime/formats/columns")
PAGE = "docs/events.md"
