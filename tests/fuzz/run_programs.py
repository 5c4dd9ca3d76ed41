"""Programs of the event engine, as they are on every CPU path and changed, in buffers as large as they say."""

from __future__ import annotations

import ctypes as c
import random
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from runtime import native
from runtime.engines.event.memory import row_stride
from runtime.engines.event_program.forms import NEVER, Forms
from runtime.engines.event_program.layout import Layout
from runtime.engines.event_program.program import Compiler
from tests.fuzz.programs import Network
from tests.fuzz.room import NUMBERS, Room

LARGEST = 1 << 24  # a program that asks for larger buffers is not run
FIELDS = [name for name, _ in native.Op._fields_]
POINTERS = ("weight", "weight_bytes", "bias", "scale", "alpha", "code")


class PlacingCompiler(Compiler):
    """The engine's compiler; `gaps` are the (offset, size) between the places of its arena that nothing may touch."""

    def reserve(self, size: int) -> int:
        at = super().reserve(size)
        self.gaps = [*getattr(self, "gaps", []), (at + size, self.out.arena - at - size)]
        return at


def mutate(rng: random.Random, ops: list[native.Op], sizes: dict[str, Any], codes: dict[int, np.ndarray]) -> None:
    """Changes one thing in the operations, in the lines of their neurons, or in the sizes that stand beside them."""
    if codes and rng.random() < 0.25:
        code = rng.choice(list(codes.values()))
        at = rng.randrange(code.size)
        code[at] = rng.choice(
            (rng.choice(NUMBERS) % (1 << 31), -1, int(code[at]) ^ 1, rng.randrange(60), rng.choice(code))
        )
        return
    op, other = rng.choice(ops), rng.choice(ops)
    what = rng.random()
    if what < 0.1:  # a map that stays one
        before, after = rng.choice((("ic", "oc"), ("ih", "oh"), ("iw", "ow")))
        new = rng.choice((1, 2, 40, getattr(op, after) + 1, 2 * getattr(op, after), getattr(other, after)))
        setattr(op, before, new)
        setattr(op, after, new)
        op.items = op.oh if op.items == other.oh or rng.random() < 0.5 else op.items
    elif what < 0.75:
        name = rng.choice(FIELDS)
        value = getattr(op, name) or 0
        if name in POINTERS:
            pointers = [getattr(o, p) for o in ops for p in POINTERS if getattr(o, p)]
            near = rng.choice(pointers or [0]) + rng.choice((0, 0, 4, 64, 128, 256))
            new = rng.choice((None, value + 64, max(value - 64, 0), value + 4, near, near))
        elif isinstance(value, float):
            new = rng.choice((0.0, -1.0, 0.5, 2.0, float("inf"), float("nan")))
        else:
            places = [getattr(other, n) for n in ("in_", "out", "index", "values", "dense")]
            new = rng.choice(
                (
                    value + 1,
                    value - 1,
                    value * 2,
                    value // 2,
                    value + 64,
                    getattr(other, name),
                    rng.choice(NUMBERS),
                    rng.choice(places),
                )
            )
            bits = 8 * getattr(native.Op, name).size
            new = (int(new or 0) + (1 << bits - 1)) % (1 << bits) - (1 << bits - 1)
        setattr(op, name, new)
    elif what < 0.8:
        i, j = rng.randrange(len(ops)), rng.randrange(len(ops))
        ops[i], ops[j] = ops[j], ops[i]
    elif what < 0.84 and len(ops) > 1:
        del ops[rng.randrange(len(ops))]
    elif what < 0.86:
        ops.insert(rng.randrange(len(ops)), native.Op.from_buffer_copy(op))
    else:
        name = rng.choice([n for n in sizes if n not in ("rows", "steps")] + ["v_floats"] * 2)
        change: Callable[[int], int] = rng.choice(
            (lambda n: n - 1, lambda n: n - 16, lambda n: n + 1, lambda n: n // 2, lambda n: -n)
        )
        if isinstance(sizes[name], list):
            i = rng.randrange(len(sizes[name]))
            sizes[name][i] = change(sizes[name][i])
        else:
            sizes[name] = change(sizes[name])


def sizes_of(layout: Layout, network: Network, rng: random.Random) -> dict[str, Any]:
    return {
        "acc_floats": layout.acc_floats,
        "arena_bytes": layout.arena,
        "x_floats": int(np.prod(network.card["input"]["shape"])),
        "y_floats": len(network.card["classes"]),
        "v_floats": [row_stride(state["shape"]) for state in network.states],
        "buffers": [array.nbytes for array in layout.keep],
        "rows": rng.choice((1, 1, 2, 3)),
        "steps": rng.choice((1, 2)),
    }


def largest(sizes: dict[str, Any]) -> int:
    """Of the buffers of a program."""
    kinds = ("acc_floats", "arena_bytes", "x_floats", "y_floats")
    return max(*(sizes[kind] for kind in kinds), *sizes["v_floats"], *sizes["buffers"])


def run_program(
    library: c.CDLL,
    ops: list[native.Op],
    layout: Layout,
    sizes: dict[str, Any],
    path: int,
    x: bytes,
    pool: int | None,
    gaps: Sequence[tuple[int, int]] = (),
    codes: Mapping[int, np.ndarray] | None = None,
) -> bytes | None:
    """y of one call; None where the program is refused. Every buffer is as large as `sizes` says.

    gaps  (offset, size) of what may not be touched in the arena; codes: other lines than those of the layout, by their place
    """
    if largest(sizes) > LARGEST or min(sizes["buffers"], default=0) < 0:
        return None
    with Room() as room:
        arrays = [(codes or {}).get(i, array) for i, array in enumerate(layout.keep)]
        moved = [room.take(size, array.tobytes()) for size, array in zip(sizes["buffers"], arrays, strict=True)]
        ops = [native.Op.from_buffer_copy(op) for op in ops]
        for op in ops:  # what points into an array of the compiler points as far into its copy
            for name in POINTERS:
                at = getattr(op, name) or 0
                for array, copy in zip(layout.keep, moved, strict=True):
                    if -64 <= at - array.ctypes.data <= array.nbytes:
                        setattr(op, name, copy + at - array.ctypes.data)
                        break
        buffers = b"".join(bytes(native.Buffer(at, size)) for at, size in zip(moved, sizes["buffers"], strict=True))
        rows, steps, states = sizes["rows"], sizes["steps"], len(sizes["v_floats"])
        program = native.Program(
            ops=room.take(len(ops) * c.sizeof(native.Op), b"".join(map(bytes, ops))),
            count=len(ops),
            states=states,
            path=path,
            flush=1,
            acc_floats=sizes["acc_floats"],
            arena_bytes=sizes["arena_bytes"],
            x_floats=sizes["x_floats"],
            y_floats=sizes["y_floats"],
            v_floats=room.numbers(sizes["v_floats"]),
            buffers=room.take(len(buffers), buffers),
            buffer_count=len(moved),
        )
        text = c.create_string_buffer(200)
        if library.plif_program_check(c.byref(program), text, len(text)):
            assert text.value and b"\n" not in text.value, text.value
            return None
        xs = room.take(4 * steps * rows * sizes["x_floats"], x)
        ys = room.take(4 * steps * rows * sizes["y_floats"])
        v = [room.take(4 * rows * max(n, 0)) for n in sizes["v_floats"]]
        rates = [room.take(4 * rows * steps) for _ in v]
        counts = room.numbers([rows * n for n in sizes["v_floats"]])
        owed = [room.take(-(-rows * max(n, 0) // native.OWED_FLOATS)) for n in sizes["v_floats"]]
        call = native.Call(
            x=xs, y=ys, v=room.numbers(v), v_next=room.numbers(v), rates=room.numbers(rates), owed=room.numbers(owed),
            v_stride=program.v_floats,
            x_row=sizes["x_floats"], x_step=rows * sizes["x_floats"], y_row=sizes["y_floats"], y_step=0, rows=rows, steps=steps,
        )  # fmt: skip
        given = native.CallSizes(
            rows * steps * sizes["x_floats"],
            rows * steps * sizes["y_floats"],
            counts,
            counts,
            room.numbers([rows * steps] * states),
        )
        if library.plif_call_check(c.byref(program), c.byref(call), c.byref(given), text, len(text)):
            return None
        threads = 2 if pool else 1
        places = [room.take(sizes["arena_bytes"]) for _ in range(threads)]
        for at, size in gaps:
            for place in places:
                room.forbid(place + at, size)
        arenas = room.numbers(places)
        accs = room.numbers([room.take(4 * sizes["acc_floats"]) for _ in range(threads)])
        library.plif_run(c.byref(program), pool, c.byref(call), arenas, accs)
        library.plif_settle(c.byref(program), c.byref(call))
        return c.string_at(ys, 4 * steps * rows * sizes["y_floats"])


def programs(library: c.CDLL, rng: random.Random, paths: list[int], pool: int, count: dict[str, int]) -> None:
    """One network: as it is on every path, then changed."""
    network = Network(rng)
    path = rng.choice(paths)
    threads = rng.choice((1, 2))
    forms = Forms(
        rng.random() < 0.5, rng.choice((0.05, 0.5, NEVER)) if native.PATHS[path] in ("avx512", "amx") else NEVER
    )
    compiler = PlacingCompiler(network.card, network.weights, "fuzz", True, threads, native.PATHS[path], forms)
    layout = compiler.compile()
    sizes = sizes_of(layout, network, rng)
    if largest(sizes) > LARGEST:
        count["too large"] = count.get("too large", 0) + 1
        return
    size = sizes["rows"] * sizes["steps"] * sizes["x_floats"]
    x = np.random.default_rng(rng.getrandbits(32)).choice([0, 0, 0, 1, 2.5], size).astype(np.float32).tobytes()
    shared = pool if threads == 2 else None
    found = {p: run_program(library, layout.ops, layout, sizes, p, x, shared, compiler.gaps) for p in paths}
    assert found[path] is not None, "a program of the compiler is refused"
    assert len(set(found.values())) == 1, f"the paths differ: {[p for p in paths if found[p] != found[path]]}"
    count["networks"] += 1
    for _ in range(60):
        ops = [native.Op.from_buffer_copy(op) for op in layout.ops]
        changed = {name: list(n) if isinstance(n, list) else n for name, n in sizes.items()}
        codes = {
            i: array.reshape(-1).copy() for i, array in enumerate(layout.keep) if array.dtype in (np.int32, np.int64)
        }
        for _ in range(rng.choice((1, 1, 1, 2, 4))):
            mutate(rng, ops, changed, codes)
        shared = pool if rng.random() < 0.1 else None
        ran = run_program(library, ops, layout, changed, rng.choice(paths), x, shared, codes=codes)
        count["refused" if ran is None else "ran"] += 1
