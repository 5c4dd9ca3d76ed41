"""The part that recognises NIR files and reads their card."""

ABOUT = "One HDF5 file, with the card in the metadata of its graph."
CONTRACT = "Target"
NAMES = ("nir",)
SUFFIX = ".nir"
MAGIC = b"\x89HDF\r\n\x1a\n"
NEEDS = ("runtime/formats/hdf5",)
REQUIRES = ("h5py",)
EXTRA = "nir"
PAGE = "docs/nir.md"
