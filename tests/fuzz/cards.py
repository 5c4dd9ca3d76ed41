"""Artifacts whose card lies: each is run, or refused in one line with exit code 2, in bounded time and memory.

    python -m tests.fuzz.cards [a.onnx b.onnx] --minutes 10 [--seed 0]    small networks of each precision when none is given

A lie changes what the card says, not its bytes: a field of it becomes another number or another kind of value, or is left
out, or two parts of it change places. Every artifact is run in a forked process, as `plif info`, `plif stream` and a
session of two rows with firing rates. LIES has those that did harm once; the rest are drawn.
"""

from __future__ import annotations

import argparse
import copy
import json
import os
import random
import resource
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any

import numpy as np
import onnx

from runtime.core.api import load
from runtime.core.base.errors import PlifError
from runtime.core.cli.main import run
from runtime.core.model.card import CARD_KEY, read_card
from runtime.core.parts import find_parts
from tests.fuzz.artifacts import write_onnx_files

for _part in (*find_parts("commands").values(), *find_parts("observers").values()):
    if _part.find_missing() is None and _part.module.startswith("runtime."):
        import_module(_part.module)  # here: not in the time and the memory of an artifact

CPU_S, MEMORY = 5, 2 << 30  # what one artifact may take; the memory beside that of this process

Place = tuple[Any, ...]  # keys and indices from the card down to a field

# Lies that did harm once, or are near to one: (place, value); place () is several of them at once
LIES: list[tuple[Place, Any]] = [
    (
        (),  # a neuron that is larger than its layer, with a state and voters to match
        [
            (("graph", "nodes", -2, "shape"), [30000000]),
            (("states", -1, "shape"), [30000000]),
            (("graph", "nodes", -1, "attrs", "voters"), 10000000),
        ],
    ),
    (("graph", "nodes", 0, "attrs", "stride"), 1 << 32),
    (("graph", "nodes", 3, "attrs", "stride"), 1 << 32),
    (("graph", "nodes", 3, "attrs", "padding"), 1 << 32),
    (("graph", "nodes", 2, "attrs", "kernel"), (1 << 32) + 2),
    (("graph", "nodes", 2, "attrs", "stride"), 1 << 32),
    (("graph", "nodes", 1, "attrs", "v_threshold"), 10**400),
    (("graph", "nodes", 2, "params"), 2),
    (("graph", "nodes", 0, "attrs", "bits"), 5),
    (("graph", "nodes"), {"name": "vote", "op": "Vote", "inputs": [], "shape": [], "attrs": {}, "params": {}}),
    (("graph", "nodes", 1, "shape"), [8, 160, 160]),
    (("states", 0, "shape"), [8, 160, 160]),
    (("states", 0, "shape"), [1 << 30, 1 << 30, 1 << 30]),
    (("input", "shape"), [2, 1 << 30, 1 << 30]),
    (("framing",), "count:T=1099511627776"),
    (("framing",), "duration:1us,T=1099511627776"),
    (("framing",), "duration:1us,T=1099511627776,pad=zero"),
    (("framing",), "duration:1us"),
    (("T",), 2**31 - 1),
    (("batch",), 2**31 - 1),
    (("output", "voters"), 2**31 - 1),
    (("states", 0, "initial"), 10**400),
    (("taus", "conv1_neuron"), 10**400),
    (("normalisation",), {"mean": [10**400, 1], "std": [0, 0]}),
]

NUMBERS: tuple[Any, ...] = (
    *(
        0,
        1,
        2,
        3,
        7,
        16,
        63,
        64,
        65,
        127,
        128,
        129,
        1000,
        65535,
        65536,
        1 << 20,
        1 << 24,
        (1 << 31) - 1,
        1 << 31,
        1 << 32,
    ),
    *(
        (1 << 32) + 1,
        1 << 40,
        (1 << 63) - 1,
        1 << 63,
        1 << 64,
        10**30,
        10**400,
        -1,
        -2,
        -(1 << 31),
        -(1 << 63),
        -(10**30),
    ),
    *(0.5, 1.0, 2.0, 2.5, -0.0, 1e-40, 1e-310, 1e30, 1e300, float("nan"), float("inf"), -float("inf"), True, False),
)
OTHERS: tuple[Any, ...] = (
    None,
    "",
    "x",
    "2",
    "\0",
    "x" * 5000,
    "..",
    "é\ud800",
    [],
    [[]],
    {},
    {"x": 1},
    [1] * 2000,
    [None],
)
FRAMINGS = (
    "count:T={}",
    "duration:{}us",
    "duration:1us,T={}",
    "duration:1ms,T={},pad=zero",
    "events:n={},max=20ms",
    "events:n=1,max={}us",
    "duration:{}us,value=binary,resize=nearest,shape=square",
)


def places(value: Any, at: Place = ()) -> Iterator[Place]:
    """The places of all fields in a card, also of lists and objects."""
    items = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    for key, inside in items:
        yield (*at, key)
        yield from places(inside, (*at, key))


def inside(card: Any, place: Place) -> Any:
    for key in place:
        card = card[key]
    return card


def lie(card: dict[str, Any], rng: random.Random) -> str:
    """Changes one thing in the card; says what."""
    place = rng.choice([p for p in places(card) if p[0] not in ("versions", "parity", "source_sha256", "training")])
    holder, key, value = inside(card, place[:-1]), place[-1], inside(card, place)
    what = rng.choice(("number", "number", "number", "near", "other", "delete", "twice", "swap", "copy", "framing"))
    if what == "framing":
        place, new = ("framing",), rng.choice(FRAMINGS).format(rng.choice(NUMBERS))
        card["framing"] = new
    elif what == "delete":
        new = "nothing"
        del holder[key]
    elif what == "twice" and isinstance(holder, list):
        new = "it and a copy"
        holder.insert(rng.randrange(len(holder) + 1), copy.deepcopy(value))
    elif what == "swap" and isinstance(holder, list):
        new = "in another order"
        rng.shuffle(holder)
    elif what in ("swap", "twice", "copy"):  # of another field of this name, or of another field
        same = [p for p in places(card) if p[-1] == key and p != place] or list(places(card))
        new = holder[key] = copy.deepcopy(inside(card, rng.choice(same)))
    elif what == "near" and isinstance(value, int):
        new = holder[key] = value + rng.choice((-1, 1, value, -2 * value, 1 << 32))
    else:
        new = holder[key] = copy.deepcopy(rng.choice(OTHERS if what == "other" else NUMBERS))
    return f"{'.'.join(map(str, place))} = {str(new)[:60]}"


def write(artifact: onnx.ModelProto, card: dict[str, Any], path: Path) -> None:
    next(entry for entry in artifact.metadata_props if entry.key == CARD_KEY).value = json.dumps(card)
    path.write_bytes(artifact.SerializeToString())


def commands(path: Path, recording: Path) -> int:
    """What a user does with an artifact; the highest exit code."""
    codes = [run(["info", str(path)]), run(["stream", str(path), str(recording), "--json"])]
    try:
        model = load(path, "event", rates=True, threads=1)
        session = model.session(2)
        session.run(np.ones((model.T if model.unrolled else 2, 2, *model.card["input"]["shape"]), np.float32))
        assert all(0 <= rate <= 1 for rate in session.rates.values())
    except PlifError as error:
        print(f"plif: error: {error}", file=sys.stderr)
        codes.append(error.exit_code)
    return max(codes)


def outcome(path: Path, recording: Path, said: Path) -> str | None:
    """Runs the commands in a forked process. None where all is well, else what is wrong."""
    child = os.fork()
    if child == 0:
        try:
            used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
            resource.setrlimit(resource.RLIMIT_AS, (used + MEMORY, used + MEMORY))
            cpu_s = int(time.process_time()) + CPU_S
            resource.setrlimit(resource.RLIMIT_CPU, (cpu_s + 1, cpu_s + 2))
            resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
            signal.alarm(120)  # one that waits for ever
            with open(said, "wb") as err, open(os.devnull, "wb") as out:
                os.dup2(out.fileno(), 1)
                os.dup2(err.fileno(), 2)
            os._exit(commands(path, recording))
        except BaseException as error:
            os.write(2, f"{type(error).__name__}: {error}".encode(errors="replace"))
            os._exit(77)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    lines = said.read_text(errors="replace").splitlines()
    if code not in (0, 2):
        return f"ended by {signal.Signals(-code).name if code < 0 else code}: {lines[-1:]}"
    wrong = [line for line in lines if not line.startswith("plif: ") or "a bug in plif" in line]
    return f"said {wrong[0][:300]!r}" if wrong else None


def lies(seeds: list[Path], rng: random.Random) -> Iterator[tuple[Path, str, dict[str, Any]]]:
    """(artifact, what was changed, the card) without end: first LIES, each in every artifact that has its place."""
    cards = {path: read_card(path) for path in seeds}
    for place, value in LIES:
        for path, true in cards.items():
            card = copy.deepcopy(true)
            try:
                for at, new in [(place, value)] if place else value:
                    inside(card, at[:-1])[at[-1]] = new
            except (LookupError, TypeError):
                continue
            yield path, f"{'.'.join(map(str, place))} = {str(value)[:60]}", card
    while True:
        path = rng.choice(seeds)
        card = copy.deepcopy(cards[path])
        yield path, "; ".join([lie(card, rng) for _ in range(rng.choice((1, 1, 1, 2, 3)))]), card


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("artifacts", nargs="*", type=Path)
    parser.add_argument("--count", type=int, default=1 << 60)
    parser.add_argument("--minutes", type=float, default=1e9)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    os.environ.setdefault("PLIF_NO_CALIBRATION", "1")
    rng, end_s, found, done = random.Random(asked.seed), time.monotonic() + 60 * asked.minutes, 0, 0
    with tempfile.TemporaryDirectory() as name:
        artifacts = asked.artifacts or write_onnx_files(Path(name))
        protos = {path: onnx.load(path) for path in artifacts}
        path, recording, said = (Path(name) / file for file in ("a.onnx", "r.csv", "said.txt"))
        recording.write_text("".join(f"{40 * i},{i * 7 % 16},{i * 5 % 16},{i % 2}\n" for i in range(2000)))
        for artifact, what, card in lies(artifacts, rng):
            if done == asked.count or time.monotonic() > end_s:
                break
            write(protos[artifact], card, path)
            done += 1
            if (wrong := outcome(path, recording, said)) is not None:
                found += 1
                print(f"{artifact.name}: {what}: {wrong}", flush=True)
    print(f"{done} lies, {found} did harm")
    return int(found > 0)


if __name__ == "__main__":
    sys.exit(main())
