"""The notation of networks: the strings of Table S1 of the PLIF paper as a small language.

Source: Fang et al., ICCV 2021, supplement.

    network := item ("-" item)*
    item    := "{" network "}" "*" count | layer
    layer   := c<channels>k<kernel>s<stride>   convolution, padding kernel//2 for an odd kernel, 0 for an even one
             | MPk<kernel>s<stride>             max pooling, no padding
             | APk<kernel>s<stride>             average pooling, no padding; after a fully connected layer it is the vote
             | FC<features>                     fully connected; the first one implies a flatten
             | BN | DP                          batch normalisation, dropout
             | IF | LIF | PLIF                  spiking neurons

`parse_notation` returns a Notation of frozen records, and `str` of it is the original string. `name_layers` takes the
shape of the input and gives every layer its name and its shapes. Networks, graphs and cards use them, so these rules
are in one place.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from runtime.core.base.errors import PlifError

Shape = tuple[int, ...]
CONTEXT = 200  # characters of a notation before and after an error


class NotationError(PlifError):
    """The error for an invalid network notation (layers as text); `position` is the index of the wrong character."""

    def __init__(self, text: str, position: int, problem: str) -> None:
        self.position = position
        before, after = text[max(0, position - CONTEXT) : position], text[position : position + CONTEXT]
        before = f"...{before}" if position > CONTEXT else before
        after = f"{after}..." if position + CONTEXT < len(text) else after
        super().__init__(f"network notation, character {position + 1}: {problem}, in '{before}>>>{after}'")


@dataclass(frozen=True)
class Conv:
    channels: int
    kernel: int
    stride: int

    @property
    def padding(self) -> int:
        return self.kernel // 2 if self.kernel % 2 else 0

    def __str__(self) -> str:
        return f"c{self.channels}k{self.kernel}s{self.stride}"


@dataclass(frozen=True)
class Pool:
    kind: str  # "MP" or "AP"
    kernel: int
    stride: int

    def __str__(self) -> str:
        return f"{self.kind}k{self.kernel}s{self.stride}"


@dataclass(frozen=True)
class FC:
    features: int

    def __str__(self) -> str:
        return f"FC{self.features}"


@dataclass(frozen=True)
class BN:
    def __str__(self) -> str:
        return "BN"


@dataclass(frozen=True)
class Dropout:
    def __str__(self) -> str:
        return "DP"


@dataclass(frozen=True)
class Neurons:
    kind: str  # "IF", "LIF" or "PLIF"

    def __str__(self) -> str:
        return self.kind


@dataclass(frozen=True)
class Repeat:
    body: Notation
    times: int

    def __str__(self) -> str:
        return f"{{{self.body}}}*{self.times}"


Layer = Conv | Pool | FC | BN | Dropout | Neurons


@dataclass(frozen=True)
class Notation:
    """A parsed network notation (layers as text): `items` as written, `layers()` with repetitions expanded."""

    items: tuple[Layer | Repeat, ...]

    def __str__(self) -> str:
        return "-".join(str(entry) for entry in self.items)

    def layers(self) -> Iterator[Layer]:
        for entry in self.items:
            if isinstance(entry, Repeat):
                for _ in range(entry.times):
                    yield from entry.body.layers()
            else:
                yield entry


# The pattern of each layer; its groups are the fields of the record, in order.
_PATTERNS: dict[type[Any], str] = {
    Conv: r"c([0-9]+)k([0-9]+)s([0-9]+)",
    Pool: r"(MP|AP)k([0-9]+)s([0-9]+)",
    FC: r"FC([0-9]+)",
    BN: r"BN",
    Dropout: r"DP",
    Neurons: r"(PLIF|LIF|IF)",
}
_MAX_LAYERS = 10_000  # nested repetitions multiply: a short string could otherwise ask for a billion layers


def parse_notation(text: str) -> Notation:
    """Parse a network notation such as c128k3s1-BN-PLIF-FC10. Raises NotationError if it is invalid."""
    notation, end = _parse_network(text, 0, depth=0)
    if end != len(text):
        raise NotationError(text, end, "expected '-' and a layer, or the end")
    if _count_layers(notation) > _MAX_LAYERS:
        raise NotationError(text, 0, f"the repetitions give more than {_MAX_LAYERS} layers")
    return notation


def _parse_network(text: str, position: int, depth: int) -> tuple[Notation, int]:
    if depth > 20:
        raise NotationError(text, position, "braces nested deeper than 20")
    items: list[Layer | Repeat] = []
    while True:
        entry, position = _parse_item(text, position, depth)
        items.append(entry)
        if position < len(text) and text[position] == "-":
            position += 1
        else:
            return Notation(tuple(items)), position


def _parse_item(text: str, position: int, depth: int) -> tuple[Layer | Repeat, int]:
    if position < len(text) and text[position] == "{":
        body, position = _parse_network(text, position + 1, depth + 1)
        if position == len(text) or text[position] != "}":
            raise NotationError(text, position, "expected '-' and a layer, or '}'")
        count = re.compile(r"\*([0-9]{1,5})").match(text, position + 1)
        if not count or int(count[1]) < 1:
            raise NotationError(text, position + 1, "expected '*' and how many times, e.g. '*2'")
        return Repeat(body, int(count[1])), count.end()
    for layer_class, pattern in _PATTERNS.items():
        if match := re.compile(pattern).match(text, position):
            sizes = [group for group in match.groups() if group.isdigit()]
            if any(len(size) > 7 or not 1 <= int(size) <= 1_000_000 for size in sizes):
                raise NotationError(text, position, f"'{match[0][:40]}' has a size outside 1..1000000")
            fields = [int(group) if group.isdigit() else group for group in match.groups()]
            return layer_class(*fields), match.end()
    raise NotationError(
        text,
        position,
        "not a layer; expected one such as c128k3s1, MPk2s2, APk10s10, FC100, BN, DP, IF, LIF, PLIF or {...}*2",
    )


def _count_layers(notation: Notation) -> int:
    return sum(entry.times * _count_layers(entry.body) if isinstance(entry, Repeat) else 1 for entry in notation.items)


# --- names and shapes ---------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class NamedLayer:
    """One layer of a network, with its name and shapes.

    name       conv1, conv1_bn, conv1_neuron, conv1_pool, flatten, fc1_dropout, fc1, fc1_neuron, vote, ...
    op         Conv, Linear, BatchNorm, Neuron, MaxPool, AvgPool, Flatten, Dropout or Vote
    layer      its record; None for the implied flatten
    in_shape   of its input, without the batch axis: (C, H, W) or (features,)
    out_shape  of its output, likewise
    """

    name: str
    op: str
    layer: Layer | None
    in_shape: Shape
    out_shape: Shape


def name_layers(notation: Notation, input_shape: Shape) -> list[NamedLayer]:
    """Return the name and the shapes of every layer of a network, in order, for an input (C, H, W).

    Raises PlifError if a layer does not fit the shape of its input.
    """
    if len(input_shape) != 3 or any(n < 1 for n in input_shape):
        raise PlifError(f"input shape {input_shape}: expected three positive sizes (channels, height, width)")
    named: list[NamedLayer] = []
    names: set[str] = set()
    shape: Shape = tuple(input_shape)
    convs = fcs = 0
    block = "input"  # the convolution or linear layer whose name batch normalisation, neurons and pools carry

    def add(name: str, op: str, layer: Layer | None, out_shape: Shape) -> None:
        nonlocal shape
        base, n = name, 1
        while name in names:
            n += 1
            name = f"{base}{n}"
        names.add(name)
        named.append(NamedLayer(name, op, layer, shape, out_shape))
        shape = out_shape

    layers = list(notation.layers())
    for i, layer in enumerate(layers):
        before_fc = isinstance(layer, FC) or (isinstance(layer, Dropout) and _is_before_fc(layers, i))
        if before_fc and len(shape) == 3:
            add("flatten", "Flatten", None, (shape[0] * shape[1] * shape[2],))
        if isinstance(layer, Conv):
            convs += 1
            block = f"conv{convs}"
            _require_image(layer, shape)
            add(block, "Conv", layer, (layer.channels, *_window_output(layer, shape, layer.padding)))
        elif isinstance(layer, FC):
            fcs += 1
            block = f"fc{fcs}"
            add(block, "Linear", layer, (layer.features,))
        elif isinstance(layer, BN):
            _require_image(layer, shape)
            add(f"{block}_bn", "BatchNorm", layer, shape)
        elif isinstance(layer, Neurons):
            add(f"{block}_neuron", "Neuron", layer, shape)
        elif isinstance(layer, Dropout):
            following = f"fc{fcs + 1}" if _is_before_fc(layers, i) else block
            add(f"{following}_dropout", "Dropout", layer, shape)
        elif len(shape) == 3:
            op = "MaxPool" if layer.kind == "MP" else "AvgPool"
            add(f"{block}_pool", op, layer, (shape[0], *_window_output(layer, shape, padding=0)))
        else:
            if layer.kind != "AP" or layer.kernel != layer.stride or shape[0] % layer.kernel:
                raise PlifError(
                    f"layer '{layer}' after a fully connected layer: expected a vote such as APk10s10 whose size divides "
                    f"the {shape[0]} features that reach it"
                )
            add("vote", "Vote", layer, (shape[0] // layer.kernel,))
    return named


def _is_before_fc(layers: list[Layer], i: int) -> bool:
    following = (layer for layer in layers[i + 1 :] if not isinstance(layer, Dropout))
    return isinstance(next(following, None), FC)


def _require_image(layer: Layer, shape: Shape) -> None:
    if len(shape) != 3:
        raise PlifError(f"layer '{layer}' needs an image (C, H, W), but a vector of {shape[0]} features reaches it")


def _window_output(layer: Conv | Pool, shape: Shape, padding: int) -> Shape:
    """Return the height and width of a sliding window's output, for an input (C, H, W)."""
    out = tuple((n + 2 * padding - layer.kernel) // layer.stride + 1 for n in shape[1:])
    if min(out) < 1:
        raise PlifError(f"layer '{layer}' does not fit: an image of {shape[1]}x{shape[2]} reaches it")
    return out
