"""The C writer: a graph -> one .c and one .h, without a library, a heap or a thread; for microcontrollers.

    names.py        identifiers, numbers and arrays as C text
    program.py      the collected constants, buffers, functions and calls; values and their memory layout
    products.py     Conv and Linear, which add up the weights of active inputs
    neurons.py      a neuron's equation as C, from the same equation that everything else runs
    maps.py         elementwise operations and pooling
    makers.py       the function that writes each kind of node
    file.py         the text of both files, with their comments

Spikes are kept as lists: for each place of a map the number of channels that fired, and their indices. A layer that
reads them does work for spikes alone. Values have the channels last, [H][W][C], so that the weights of one spike are
one row for all outputs.
"""

from plif_export.writers.c.file import CFiles, write_c
from plif_export.writers.c.makers import build_program
from plif_export.writers.c.program import CProgram

__all__ = ["CFiles", "CProgram", "build_program", "write_c"]
