ABOUT = "What is in an HDF5 file, read by a process of its own and checked."
CONTRACT = "Format"
NAMES = ()
REQUIRES = ("h5py",)
EXTRA = "nir"
