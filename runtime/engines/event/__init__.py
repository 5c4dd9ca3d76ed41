"""The event engine: work in proportion to the spikes.

engine      runs operations in the native kernels (runtime/native/engine/event.h); runtime/engines/event_program makes
            them
memory      weights, programs stored in an artifact, membranes
"""
