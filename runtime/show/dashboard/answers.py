"""What a stream has answered: how often each label, and each change of the answer, as a list that can be saved."""

from __future__ import annotations

import csv
import io
import json
import threading
from collections import Counter, deque
from datetime import datetime, timezone
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from runtime.stream.decide import Decision

MOST = 10_000  # changes that are kept, the newest ones
COLUMNS = ("when", "t_us", "step", "label", "score")


class Answers:
    """`add` in the thread of the stream, everything else in any thread."""

    def __init__(self) -> None:
        self.counts: Counter[str | None] = Counter()  # decisions by label; None: no answer
        self._changes: deque[dict[str, Any]] = deque(maxlen=MOST)
        self._last: tuple[str | None] | None = None
        self._lock = threading.Lock()

    def add(self, decision: Decision) -> None:
        """Counts a decision; one with another label than the last is a change."""
        label = decision.label
        with self._lock:
            self.counts[label] += 1
            if self._last != (label,):
                self._last = (label,)
                when = datetime.now(timezone.utc).isoformat(timespec="milliseconds")
                values = (when, decision.t_us, decision.step, label, round(float(decision.score), 4))
                self._changes.append(dict(zip(COLUMNS, values, strict=True)))

    def changes(self, most: int = MOST) -> list[dict[str, Any]]:
        """The newest changes, the oldest of them first."""
        with self._lock:
            return list(self._changes)[-most:]

    def by_label(self) -> dict[str | None, int]:
        with self._lock:
            return dict(self.counts)

    def to_csv(self) -> str:
        """A header and a line for each change; a label that a spreadsheet would take for a formula begins with an apostrophe."""
        out = io.StringIO()
        writer = csv.DictWriter(out, COLUMNS, lineterminator="\n")
        writer.writeheader()
        for change in self.changes():
            label = change["label"] or ""
            writer.writerow({**change, "label": "'" + label if label[:1] in tuple("=+-@\t\r") and label else label})
        return out.getvalue()

    def to_json(self) -> str:
        return json.dumps(self.changes(), indent=1) + "\n"
