"""What is in an HDF5 file of others: tree, of what another process (decode) says."""
