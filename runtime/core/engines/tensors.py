"""The tensors of an artifact by name, as its card lists them: what an engine binds, and what a file must hold.

inputs    the graph's input (x) and the `input` of each state
outputs   y, the `output` of each state and, where rates are counted, one more for each layer: float32 [rows]
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import numpy as np

from runtime import native
from runtime.core.base.errors import PlifError
from runtime.core.model.card import Card, output_shape

Tensor = TypeVar("Tensor")
Sizes = list[int | str]  # of a shape; "B" is the number of rows


def by_name(
    card: Card, x: Tensor, v: Sequence[Tensor], y: Tensor, v_next: Sequence[Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """(inputs, outputs) of one call, {name: tensor}.

    x [rows, C, H, W], y [rows, classes]; v and v_next [rows, ...], in the order of the card's states
    """
    inputs, outputs = {card["graph"]["input"]: x}, {"y": y}
    for state, before, after in zip(card["states"], v, v_next, strict=True):
        inputs[state["input"]], outputs[state["output"]] = before, after
    return inputs, outputs


def rate_outputs(card: Card, rates: bool) -> dict[str, str]:
    """layer -> the name of the output that holds its firing rate; empty where rates are not asked for."""
    return {layer: f"rate.{layer}" for layer in spiking_layers(card)} if rates else {}


def spiking_layers(card: Card) -> dict[str, bool]:
    """{layer: whether its spikes are more than 0 and 1}, in the order of the card's states; without those that do not spike."""
    nodes = card.get("graph", {}).get("nodes", ())  # a model that runs as it is has no graph
    attrs = {node["attrs"].get("layer"): node["attrs"] for node in nodes if node["op"] == "Neuron"}
    layers = dict.fromkeys(state["layer"] for state in card["states"])
    said = {layer: attrs.get(layer, {}) for layer in layers}
    return {layer: a.get("graded", False) is True for layer, a in said.items() if a.get("spiking", True) is not False}


def call_shapes(card: Card) -> tuple[Sizes, list[Sizes], Sizes]:
    """The shapes of x, of the membranes of each state, and of y, with "B" for the number of rows of the batch."""
    steps = [card["T"]] if card["form"] == "unrolled" else []
    x = [*([] if card["input"]["kind"] == "static" else steps), "B", *card["input"]["shape"]]
    return x, [["B", *state["shape"]] for state in card["states"]], [*steps, "B", *output_shape(card)]


def shapes_by_name(card: Card) -> tuple[dict[str, Sizes], dict[str, Sizes]]:
    """(inputs, outputs) -> their shapes, as of call_shapes."""
    x, v, y = call_shapes(card)
    return by_name(card, x, v, y, v)


def check_shapes(path: Path, card: Card, found: Mapping[str, Sequence[object]], where: str) -> None:
    """Refuses a file whose inputs and outputs are not what its card says; any number of rows will do.

    found  name -> shape;  where: what holds them, e.g. "the graph"
    """
    inputs, outputs = shapes_by_name(card)
    for name, shape in (inputs | outputs).items():
        rows, here = shape.index("B"), list(found.get(name, ()))
        if [*here[:rows], "B", *here[rows + 1 :]] != shape:
            raise PlifError(f"{path}: {name} is {here or 'missing'} in {where}, {shape} in the card; export it again")


def finite_check(x: np.ndarray) -> Callable[[], None]:
    """A function that refuses x, float32 [...] in one piece, with PlifError where a number of it is not finite now.

    A NaN silences the neurons that it reaches for ever, and no output shows it: h >= v_threshold is false, and h stays.
    """
    if native.is_built():
        first = partial(native.library().plif_first_not_finite, x.ctypes.data, x.size)
    else:
        first = partial(_first_not_finite, x)

    def check() -> None:
        if (i := first()) < x.size:
            at = np.unravel_index(i, x.shape)
            raise PlifError(
                f"x is {x[at]:g} at {[int(n) for n in at]}; expected finite numbers, within float32. No step was made, and the "
                "membranes are as they were"
            )

    return check


def require_finite(x: np.ndarray) -> None:
    """The same, once, of numbers [...] of any type."""
    if x.dtype.kind not in "biu":
        with np.errstate(over="ignore", invalid="ignore"):
            finite_check(np.ascontiguousarray(x, np.float32))()


def _first_not_finite(x: np.ndarray) -> int:
    fine = np.isfinite(x).reshape(-1)
    return x.size if fine.all() else int(np.argmin(fine))
