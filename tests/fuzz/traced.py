"""Random programs of traced neurons."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Any

from runtime.neurons.traced_program.program import NUMBER, OPS, input_names


def random_program(rng: random.Random, ops: Sequence[str], inputs: int = 1) -> tuple[dict[str, Any], list[str]]:
    """The attributes of a node, and the names of its parameters. Whatever is drawn fits the rules of a program."""
    states = {"v": 0.0, **{f"s{i}": rng.choice((0.0, 0.5, 1.0)) for i in range(rng.randint(0, 3))}}
    params = [f"p{i}" for i in range(rng.randint(0, 2))]
    known = {True: list[str](), False: [*input_names(inputs), *states, *params]}  # truth values, numbers
    lines: list[list[Any]] = [["first", "Greater", "x", 0.25]]
    known[True].append("first")
    for i in range(rng.randint(4, 25)):
        op = rng.choice(ops)
        wanted, gives = OPS[op]
        operands = [_operand(rng, known[kind != NUMBER], kind) for kind in wanted]
        lines.append([f"t{i}", op, *operands])
        known[gives != NUMBER].append(f"t{i}")
    numbers = [name for name in known[False] if name not in (*params, *input_names(inputs))]
    lines.append(["fires", "Cast", rng.choice(known[True])])
    lines += [
        [f"next_{name}", "Clip", rng.choice(numbers), -8.0, 8.0] for name in states
    ]  # so that nothing grows forever
    graded = rng.random() < 0.3
    return {
        "states": states,
        "program": lines,
        "h": rng.choice(numbers),
        "s": rng.choice(numbers) if graded else "fires",
        "next": {name: rng.choice((f"next_{name}", f"next_{name}", *states)) for name in states},
        "graded": graded,
    }, params


def _operand(rng: random.Random, known: Sequence[str], kind: str) -> Any:
    if kind == NUMBER and rng.random() < 0.15:
        return rng.choice((0.0, 1.0, -0.5, 0.75, 3.0))
    return rng.choice(known[-6:] if rng.random() < 0.6 else known)
