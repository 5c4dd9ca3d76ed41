"""The tensors of an artifact by name, as in its card: an engine binds them, and a file must hold them.

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


def name_tensors(
    card: Card, x: Tensor, v: Sequence[Tensor], y: Tensor, v_next: Sequence[Tensor]
) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Map the tensors of one network call to their names in the graph: (inputs, outputs), {name: tensor} each.

    x [rows, C, H, W], y [rows, classes]; v and v_next [rows, ...], in the order of the card's states
    """
    inputs, outputs = {card["graph"]["input"]: x}, {"y": y}
    for state, before, after in zip(card["states"], v, v_next, strict=True):
        inputs[state["input"]], outputs[state["output"]] = before, after
    return inputs, outputs


def rate_outputs(card: Card, rates: bool) -> dict[str, str]:
    """Map each spiking layer to the name of the graph output that holds its firing rate.

    The map is empty unless rates are requested.
    """
    return {layer: f"rate.{layer}" for layer in spiking_layers(card)} if rates else {}


def spiking_layers(card: Card) -> dict[str, bool]:
    """Map each spiking layer to True if its spikes are graded (other numbers than 0 and 1), else False.

    The order is that of the card's states.
    """
    nodes = card.get("graph", {}).get("nodes", ())  # a model that runs as it is has no graph
    attrs = {node["attrs"].get("layer"): node["attrs"] for node in nodes if node["op"] == "Neuron"}
    layers = dict.fromkeys(state["layer"] for state in card["states"])
    layer_attrs = {layer: attrs.get(layer, {}) for layer in layers}
    return {
        layer: a.get("graded", False) is True for layer, a in layer_attrs.items() if a.get("spiking", True) is not False
    }


def call_shapes(card: Card) -> tuple[Sizes, list[Sizes], Sizes]:
    """Return the shapes of x, of each state's membranes, and of y, with "B" for the number of rows."""
    steps = [card["T"]] if card["form"] == "unrolled" else []
    x = [*([] if card["input"]["kind"] == "static" else steps), "B", *card["input"]["shape"]]
    return x, [["B", *state["shape"]] for state in card["states"]], [*steps, "B", *output_shape(card)]


def shapes_by_name(card: Card) -> tuple[dict[str, Sizes], dict[str, Sizes]]:
    """Map the names of a call's inputs and outputs to their shapes; see call_shapes."""
    x, v, y = call_shapes(card)
    return name_tensors(card, x, v, y, v)


def check_shapes(path: Path, card: Card, shapes: Mapping[str, Sequence[object]], place: str) -> None:
    """Refuse a file with other inputs and outputs than its card's, for any number of rows.

    shapes  name -> shape in the file;  place: the holder of the shapes for messages, e.g. "the graph"
    """
    inputs, outputs = shapes_by_name(card)
    for name, shape in (inputs | outputs).items():
        rows, file_shape = shape.index("B"), list(shapes.get(name, ()))
        if [*file_shape[:rows], "B", *file_shape[rows + 1 :]] != shape:
            raise PlifError(
                f"{path}: {name} is {file_shape or 'missing'} in {place}, {shape} in the card; export it again"
            )


def make_finite_check(x: np.ndarray) -> Callable[[], None]:
    """Create a function that refuses x, contiguous float32 [...], if one of its numbers is not finite.

    A NaN silences the neurons that it reaches for ever, and no output shows it: h >= v_threshold is false, and h
    stays.
    """
    if native.is_built():
        first = partial(native.library().plif_first_not_finite, x.ctypes.data, x.size)
    else:
        first = partial(_first_not_finite, x)

    def check() -> None:
        if (i := first()) < x.size:
            index = np.unravel_index(i, x.shape)
            raise PlifError(
                f"x is {x[index]:g} at {[int(n) for n in index]}; expected finite numbers, within float32. "
                "No step was made, and the membranes are as they were"
            )

    return check


def require_finite(x: np.ndarray) -> None:
    """Refuse numbers [...] of any type unless all of them are finite within float32."""
    if x.dtype.kind not in "biu":
        with np.errstate(over="ignore", invalid="ignore"):
            make_finite_check(np.ascontiguousarray(x, np.float32))()


def _first_not_finite(x: np.ndarray) -> int:
    fine = np.isfinite(x).reshape(-1)
    return x.size if fine.all() else int(np.argmin(fine))
