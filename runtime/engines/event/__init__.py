"""The event engine: work in proportion to the spikes.

program     the card's graph -> a list of operations, with builder, conv and layout
engine      runs them in the native kernels (runtime/native/engine/event.h)
"""
