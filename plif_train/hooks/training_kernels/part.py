ABOUT = "Kernels of its own for a training step, forward and backward."
CONTRACT = "Observer"
GIVES = {
    "training_layers": "layers:LAYERS",
    "batch_norm_per_step": "layers:batch_norm_per_step",
    "keep_freed_memory": "allocator:keep_freed_memory",
    "run_neuron": "recurrence:run_neuron",
}
NATIVE = ("native/train.c", "native/pool.c", "native/sparse.c", "native/share.c")
PAGE = "docs/training.md"
