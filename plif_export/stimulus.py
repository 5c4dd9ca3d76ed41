"""The default stimulus of the gate; it lives in the runtime, whose calibration shows the same to its engines."""

from runtime.events.stimulus import MEAN_COUNT, events_like, images

__all__ = ["MEAN_COUNT", "events_like", "images"]
