"""The program of one step of a module, found in its recorded operations: states, layers of neurons, readout."""
