"""Sessions of artifacts that were unrolled over T steps, and the choice of the session class for an artifact."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from runtime.core.base.errors import PlifError
from runtime.core.engines.model import OpenModel
from runtime.core.engines.session import NO_STEP, Session, to_array
from runtime.core.engines.tensors import require_finite


def open_session(model: OpenModel, streams: int = 1) -> Session:
    """Open a session of `streams` streams of the artifact that an engine has opened, in the reset state."""
    return UnrolledSession(model, streams) if model.unrolled else Session(model, streams)


class UnrolledSession(Session):
    """A session of an artifact that was unrolled over T steps: a call runs exactly T steps."""

    def step(self, x: np.ndarray, rows: Sequence[int] | None = None, *, counted: bool = False) -> np.ndarray:
        """Refuse a single step, x [B, C, H, W], because a call of an unrolled artifact runs T steps."""
        raise PlifError(
            f"{self.model.path}: an unrolled artifact takes {self.model.T} steps at once; "
            "for single steps use the step form: plif export model.pt --form step"
        )

    def run(self, x: np.ndarray, rows: Sequence[int] | None = None, *, counted: bool = False) -> np.ndarray:
        """Run x [T n, B, C, H, W] through an unrolled artifact in n chunks of T steps; the membranes carry over.

        See Session.run.
        """
        T, x = self.model.T, to_array(x)
        if self.model.static:
            return super().step(x, rows, counted=counted)
        if len(x) == 0:
            raise PlifError(NO_STEP)
        if len(x) % T:
            raise PlifError(
                f"{self.model.path}: unrolled over T={T}, so it takes a multiple of {T} steps, not {len(x)}; "
                "use the step form for any number: plif export model.pt --form step"
            )
        if not counted:
            require_finite(x)
        return np.concatenate([Session.step(self, x[t : t + T], rows, counted=True) for t in range(0, len(x), T)])
