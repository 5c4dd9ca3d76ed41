"""One thread: these networks are small, and on a busy machine waiting for a second thread costs more than it brings."""

from __future__ import annotations

import torch

torch.set_num_threads(1)
