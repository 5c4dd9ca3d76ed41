"""Writer of C: a graph -> one .c and one .h, without a library, a heap or a thread; for microcontrollers.

    names.py        identifiers, numbers and arrays as C text
    program.py      what is collected: constants, buffers, functions, the order of calls; values and where they lie
    products.py     Conv and Linear, which add up the weights of what fired
    neurons.py      a neuron's equation as C, from the same equation that everything else runs
    maps.py         what works element by element or pools
    makers.py       which of these writes which kind of node
    file.py         the text of both files, with their comments

Spikes are kept as lists: for each place of a map how many of its channels fired, and which. A layer that reads them does work
for spikes alone. Values lie with the channels last, [H][W][C], so that the weights of one spike are one row for all outputs.
"""

from plif_export.writers.c.file import CFiles, write_c
from plif_export.writers.c.makers import examine
from plif_export.writers.c.program import CProgram

__all__ = ["CFiles", "CProgram", "examine", "write_c"]
