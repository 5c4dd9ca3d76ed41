"""The nodes of an OpenVINO network (model.xml, model.bin), in a form to compare with a second export's.

Another OpenVINO version orders and numbers the layers otherwise. So layers are compared by their names, edges by the
names of their layers, and constants by their numbers. Only the version in the network's rt_info is left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import numpy as np

from plif_export.core.proof.structure import FileContents, PlainValue

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

NUMBER = re.compile("0|[1-9][0-9]*", re.ASCII)  # in one spelling: OpenVINO may read another one otherwise
TYPES = {  # OpenVINO's element_type -> NumPy; constants of other types are compared as bytes
    "f32": "<f4",
    "f16": "<f2",
    "f64": "<f8",
    "boolean": "u1",
    **{f"{kind}{8 * size}": f"<{kind}{size}" for kind in "iu" for size in (1, 2, 4, 8)},
}
VERSION = {"name": "OpenVINO Runtime"}  # attributes of an entry in rt_info, besides its value


def normalize_network(xml: bytes, weights: bytes) -> FileContents:
    """Return the contents of model.xml and model.bin, without the version of OpenVINO that wrote them.

    Raises ValueError for files that cannot be compared.
    """
    declaration, _, text = xml.decode().partition("\n")
    if "<!" in text or "<?" in text:
        raise ValueError("it has comments, entities or instructions")
    try:
        root = ElementTree.fromstring(text)
    except ElementTree.ParseError as error:
        raise ValueError(f"it is no XML ({error})") from None
    if [part.tag for part in root[:2]] != ["layers", "edges"]:
        raise ValueError("it does not begin with layers and edges")
    layers, edges, *others = root
    names = {_number(layer.get("id")): layer.get("name", "") for layer in layers}
    if not len(set(names.values())) == len(names) == len(layers):
        raise ValueError("two of its layers have one id or one name")
    places: list[tuple[int, int]] = []
    return {
        "declaration": declaration,
        "net": [_own_contents(part) for part in (root, layers, edges)],
        "layer": {layer.get("name", ""): _layer_contents(layer, weights, places) for layer in layers},
        "edges": "".join(f"{edge}\n" for edge in sorted(_edge_text(edge, names) for edge in edges)),
        "others": [_contents(part) for part in others if not _is_version(part)],
        "bytes of no constant": _bytes_between(weights, places),
    }


def _own_contents(element: Element) -> FileContents:
    """Return the contents of an XML element without its children; white space between elements says nothing."""
    texts = {"text": (element.text or "").strip(), "text after it": (element.tail or "").strip()}
    return {"tag": element.tag, "attributes": dict(element.attrib), **texts}


def _contents(element: Element) -> FileContents:
    return {**_own_contents(element), "inside": [_contents(child) for child in element]}


def _layer_contents(layer: Element, weights: bytes, places: list[tuple[int, int]]) -> FileContents:
    """Return the contents of a layer. A constant has its numbers instead of their place, which is added to `places`."""
    contents = {**_contents(layer), "attributes": {key: text for key, text in layer.attrib.items() if key != "id"}}
    if layer.get("type") != "Const":
        return contents
    data = layer.find("data")
    if data is None or layer.findall("data") != [data]:
        raise ValueError(f"constant {layer.get('name')} has not its data")
    start, size = (int(_number(data.get(key))) for key in ("offset", "size"))
    places.append((start, start + size))
    part, dtype = weights[start : start + size], TYPES.get(data.get("element_type", ""))
    shape = [int(n) for n in data.get("shape", "").split(",") if n.strip()]
    numbers: PlainValue = part if dtype is None else np.frombuffer(part, dtype).reshape(shape)
    attributes = {key: text for key, text in data.attrib.items() if key not in ("offset", "size")}
    inside = [{**_contents(child), "attributes": attributes} if child is data else _contents(child) for child in layer]
    return {**contents, "inside": inside, "numbers": numbers}


def _edge_text(edge: Element, names: dict[str, str]) -> str:
    """Return an edge as text, with the names of its layers for their ids."""
    ends = {key: names.get(_number(edge.get(key))) for key in ("from-layer", "to-layer")}
    return repr({**_contents(edge), "attributes": {**edge.attrib, **ends}})


def _number(text: str | None) -> str:
    if text is None or not NUMBER.fullmatch(text):
        raise ValueError(f"it has '{text}' for a number")
    return text


def _is_version(part: Element) -> bool:
    """Check that a part of a network is rt_info with nothing but the version of OpenVINO, or with nothing, in it."""
    texts = [text for element in part.iter() for text in (element.text, element.tail) if text and text.strip()]
    entries = [{key: value for key, value in entry.attrib.items() if key != "value"} for entry in part]
    is_flat = (
        part.tag == "rt_info" and not part.attrib and all(entry.tag == "info" and not len(entry) for entry in part)
    )
    return is_flat and not texts and entries in ([], [VERSION])


def _bytes_between(weights: bytes, places: list[tuple[int, int]]) -> bytes:
    """Return the bytes of model.bin in which no constant lies."""
    parts, end = [], 0
    for start, stop in sorted(places):
        parts.append(weights[end:start])
        end = max(end, stop)
    return b"".join([*parts, weights[end:]])
