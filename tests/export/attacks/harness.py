"""Runs a kind: the oracle twice, the export, the artifact; and judges."""

from __future__ import annotations

import json
import os
import re
import sys
import tempfile
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from tests.export.attacks.kind import FOLDER, ROLES, Kind
from tests.processes import Ended, run_group
from tests.selection.imports import REPOSITORY

Arrays = dict[str, np.ndarray]
LIMIT = 240  # seconds of an export
NEAR = 1e-3  # of the largest value, where outputs are not whole numbers


@dataclass
class Verdict:
    """What became of one module."""

    outcome: str = ""
    line: str = ""  # the refusal, the crash, or the first difference
    named: str = ""  # the words that named the gap
    steady: bool = True  # two runs of the oracle were the same
    differs: list[str] = field(default_factory=list)
    cannot: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)
    seconds: float = 0.0


def call(command: list[str]) -> Ended:
    """Run a command of the repository, as a user does whose hashes differ each time."""
    env = {**os.environ, "PYTHONPATH": str(REPOSITORY), "PYTHONHASHSEED": "random", "OMP_NUM_THREADS": "1"}
    return run_group(command, LIMIT, REPOSITORY, env)


def python(module: str, *words: str) -> list[str]:
    return [sys.executable, "-m", f"tests.export.attacks.{module}", *words]


def oracle(kind: Kind, role: str, path: Path) -> dict[str, np.ndarray]:
    ran = call(python("oracle", kind.group, kind.name, role, str(path)))
    if ran.code:
        raise RuntimeError(f"oracle of {kind.name} ({role}): {ran.text[-2000:]}")
    with np.load(path) as file:
        return {key: file[key] for key in file.files}


def export(kind: Kind, role: str, folder: Path) -> dict[str, Any]:
    """What the export said: {words}, {refused}, {crash} or {late}."""
    if kind.form == "file":
        source = f"{FOLDER / kind.group}.py:{getattr(kind, role).__name__}"
        shape = ",".join(map(str, kind.shape))
        out = str(folder / "net.onnx")
        tool = str(Path(sys.executable).with_name("plif"))
        ran = call([tool, "export", source, "--shape", shape, "-o", out])
        said: dict[str, Any] = {"words": ran.text.splitlines()}
        if ran.code:
            kindly = 0 < ran.code < 3 and "Traceback" not in ran.text
            said = {"refused" if kindly else "crash": ran.text}
    else:
        ran = call(python("artifact", "export", kind.group, kind.name, role, str(folder)))
        result = folder / "result.json"
        said = {"crash": ran.text or str(ran.code)}
        if result.exists():
            said = json.loads(result.read_text())
    report = folder / "net.onnx.report.json"
    if "words" in said and report.exists():
        said["words"] += json.loads(report.read_text())["verify"]["not_proved"]
    return {"late": True} if ran.late else said


def differences(want: Arrays, got: Arrays) -> list[tuple[str, int, str]]:
    """(Run, first step, in words) of all that differs."""
    whole = all(np.all(np.isfinite(y)) and np.all(y == np.round(y)) for y in want.values())
    largest = max((float(np.nanmax(np.abs(y), initial=0)) for y in want.values()), default=0.0)
    allowed = 0.0 if whole or not np.isfinite(largest) else NEAR * largest
    found = []
    for key in want:
        if key not in got:
            continue
        a, b = want[key], got[key]
        if a.shape != b.shape:
            found.append((key, 0, f"{key}: shape {a.shape}, the artifact {b.shape}"))
            continue
        with np.errstate(invalid="ignore"):
            off = ~((a == b) | (np.isnan(a) & np.isnan(b)) | (np.abs(a - b) <= allowed))
        if off.any():
            place = tuple(int(i) for i in np.argwhere(off)[0])
            text = f"{key}: {int(off.sum())} of {off.size}, first at {place}: "
            text += f"{a[place]} and {b[place]}"
            found.append((key, place[0], text))
    return found


def naming(kind: Kind, words: list[str], found: list[tuple[str, int, str]]) -> str:
    """The words that say that exactly this was not proved, if there are any."""
    text = " | ".join(words)
    if kind.says and (match := re.search(f"[^|;,]*(?:{kind.says})[^|;,]*", text, re.IGNORECASE)):
        return match[0].strip()
    if not kind.late:
        return ""
    if kind.form == "loop":
        match = re.search(r"sequences of other lengths than ([\d, and]+)", text)
        proved = set(re.findall(r"\d+", match[1])) if match else set()
        said = match and not any(key.rpartition("=")[2] in proved for key, _, _ in found)
    else:
        match = re.search(r"more than (\d+) steps in a row", text)
        said = match and all(step >= int(match[1]) for _, step, _ in found)
    return match[0] if match and said and found else ""


def judge(kind: Kind, role: str, folder: Path) -> Verdict:
    verdict, began = Verdict(), time.monotonic()
    folder.mkdir(parents=True, exist_ok=True)
    want = oracle(kind, role, folder / "oracle.npz")
    verdict.steady = not differences(want, oracle(kind, role, folder / "again.npz"))
    said = export(kind, role, folder)
    if "late" in said:
        verdict.outcome = "timeout"
    elif "crash" in said:
        verdict.outcome, verdict.line = "crash", said["crash"].strip()[-3000:]
    elif "refused" in said:
        verdict.outcome, verdict.line = "refused", said["refused"].strip()
    else:
        verdict.words = said["words"]
        compare(kind, role, folder, want, verdict)
    verdict.seconds = round(time.monotonic() - began, 1)
    return verdict


def compare(kind: Kind, role: str, folder: Path, want: Arrays, verdict: Verdict) -> None:
    ran = call(python("artifact", "run", kind.group, kind.name, role, str(folder)))
    if ran.code:
        verdict.outcome = "timeout" if ran.late else "crash"
        verdict.line = ran.text.strip()[-3000:]
        return
    verdict.cannot = json.loads((folder / "cannot.json").read_text())
    with np.load(folder / "artifact.npz") as file:
        found = differences(want, {key: file[key] for key in file.files})
    verdict.differs = [text for _, _, text in found]
    if verdict.steady and not found:
        verdict.outcome = "equal"
        return
    verdict.named = naming(kind, verdict.words, found)
    verdict.outcome = "named" if verdict.named else "FALSE PASS"
    verdict.line = verdict.named or (found[0][2] if found else "the module itself is not steady")


def both(kind: Kind) -> dict[str, Any]:
    """The verdicts of a kind, as JSON holds them."""
    row: dict[str, Any] = {
        "name": kind.name,
        "group": kind.group,
        "form": kind.form,
        "does": kind.does,
    }
    for role in ROLES:
        with tempfile.TemporaryDirectory(prefix="attack-") as folder:
            try:
                row[role] = asdict(judge(kind, role, Path(folder)))
            except Exception as error:
                row[role] = asdict(Verdict("broken", str(error)))
    return row


def check(kind: Kind) -> tuple[bool, str]:
    """Under plain PyTorch: does the attack differ from its twin, and is the twin steady, alive?"""
    with tempfile.TemporaryDirectory(prefix="attack-") as path:
        folder = Path(path)
        try:
            attack = oracle(kind, "attack", folder / "a.npz")
            again = oracle(kind, "attack", folder / "b.npz")
            twin = oracle(kind, "twin", folder / "c.npz")
            unsteady = differences(twin, oracle(kind, "twin", folder / "d.npz"))
            if kind.reader is not None:
                twin = oracle(kind, "reader", folder / "e.npz")
        except RuntimeError as error:
            return False, str(error)
    parts, draws = differences(attack, twin), differences(attack, again)
    alive = any(np.unique(y).size > 1 for y in twin.values())
    rates = ", ".join(f"{np.nanmean(y):.3g}" for key, y in twin.items() if " 5 rows" in key)
    good = bool(parts or draws) and alive and not unsteady
    other = "its twin" if kind.reader is None else "its reading"
    text = [f"differs from {other} in {len(parts)} of {len(attack)} runs"]
    text += [min(parts, key=lambda part: part[1])[2]] if parts else []
    text += ["not the same twice"] if draws else []
    text += ["THE TWIN IS NOT STEADY"] if unsteady else []
    text += [f"twin's means {rates}"]
    return good, "; ".join(text)
