"""Exports every right form and compares it with plain PyTorch: one line each, then a summary."""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
from collections import Counter
from pathlib import Path

import numpy as np

from tests.export.right_forms.collection import FORMS
from tests.export.right_forms.form import Form
from tests.export.right_forms.verdict import Verdict, firing_rate, judge
from tests.processes import Ended, run_group
from tests.selection.imports import REPOSITORY

LIMIT = 240.0  # seconds, for an export and the run of its file


def run_child(part: str, name: str, place: Path) -> tuple[Ended, str]:
    """Run a part in a process of its own; return how it ended, and the last line of its errors."""
    command = [sys.executable, "-m", f"tests.export.right_forms.{part}", name, str(place)]
    ended = run_group(command, LIMIT, REPOSITORY, errors_only=True)
    return ended, (ended.text.strip().splitlines() or [""])[-1]


def try_form(form: Form) -> Verdict:
    """Run a form in plain PyTorch and through plif, each in its own process."""
    with tempfile.TemporaryDirectory() as made:
        folder = Path(made)
        ended, last = run_child("reference", form.name, folder / "reference.npz")
        if ended.code:
            raise SystemExit(f"{form.name} does not run in plain PyTorch: {last}")
        reference = dict(np.load(folder / "reference.npz"))
        rate = firing_rate(form, reference)
        if rate is not None and not 0.005 < rate < 0.9:
            raise SystemExit(f"{form.name} proves little: {rate} spikes per neuron and step")
        ended, last = run_child("artifact", form.name, folder)
        if ended.late:
            return Verdict(form.name, form.sentence, "timeout", f"after {LIMIT:.0f} s", LIMIT, rate)
        if ended.code:
            line = f"exit status {ended.code}: {last}"
            return Verdict(form.name, form.sentence, "crash", line, rate=rate)
        outcome = json.loads((folder / "outcome.json").read_text())
        return judge(form, reference, dict(np.load(folder / "artifact.npz")), outcome)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.export.right_forms", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=FORMS, metavar="NAME", help="these forms only")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all results there")
    given = parser.parse_args()
    verdicts = []
    for name in given.only or FORMS:
        verdicts.append(try_form(FORMS[name]))
        print(verdicts[-1].printed(), flush=True)
    counts = Counter(verdict.result for verdict in verdicts)
    print(f"{len(verdicts)} forms: " + ", ".join(f"{n} {what}" for what, n in counts.most_common()))
    if given.json:
        results = [verdict.to_dict() for verdict in verdicts]
        given.json.write_text(json.dumps(results, indent=1) + "\n")
    return 0 if set(counts) <= {"in"} else 1


if __name__ == "__main__":
    sys.exit(main())
