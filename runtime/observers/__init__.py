"""Who hears a run, an evaluation or a proof (runtime/core/observers.py)."""
