"""The compiler for the event engine, which runs in C (runtime/native/engine/event.h).

program     the card's graph -> a list of operations, with builder, conv and layout
neurons     any equation -> lines that the kernels run, with values and assemble
tensors     operations without a kernel, from their meaning, with views
"""
