"""The event engine: work in proportion to the spikes.

program     the card's graph -> a list of operations, with builder, conv and layout
neurons     any equation -> lines that the kernels run, with values and assemble
tensors     operations without a kernel, from their meaning, with views
engine      runs them in the native kernels (runtime/native/engine/event.h)
"""
