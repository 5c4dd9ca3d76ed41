"""int8 artifacts in a few lines, for tests of engines: weights that read spikes become int8 with a scale for each output."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

from plif_export.cards import set_card
from runtime.card import read_card
from runtime.graph import Graph, Node

SPIKES = ("Neuron", "MaxPool", "Flatten", "Dropout", "Add")  # what gives spikes, or hands them on, or adds them up


def quantise_weight(weight: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """float32 [O, ...] -> (int8 [O, ...], scale float32 [O]), symmetric."""
    largest = np.abs(weight).reshape(len(weight), -1).max(axis=1)
    scale = (np.where(largest > 0, largest, 1) / 127).astype(np.float32)
    return np.rint(weight / scale.reshape(-1, *(1,) * (weight.ndim - 1))).astype(np.int8), scale


def reads_spikes(nodes: list[dict[str, Any]], name: str) -> bool:
    """Whether what a node gives is spikes or small whole numbers of them; the graph's input is not."""
    node = next((n for n in nodes if n["name"] == name), None)
    if node is None or node["op"] not in SPIKES:
        return False
    return node["op"] == "Neuron" or all(reads_spikes(nodes, source) for source in node["inputs"])


def quantise(source: Path, target: Path) -> dict[str, np.ndarray]:
    """Rewrites an fp32 artifact with int8 weights; only its card and its tensors, not its nodes. Returns the tensors."""
    proto, card = onnx.load(source), read_card(source)
    tensors = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    nodes = card["graph"]["nodes"]
    for node in nodes:
        if node["op"] in ("Conv", "Linear") and reads_spikes(nodes, node["inputs"][0]):
            name = node["params"]["weight"]
            weight, scale = quantise_weight(tensors[name])
            tensors[name] = weight.T if node["op"] == "Linear" else (weight.view(np.uint8) ^ 128)
            node["params"]["scale"] = f"{node['name']}.scale"
            tensors[node["params"]["scale"]] = scale
    card["precision"] = "int8"
    save(target, card, tensors)
    return tensors


def save(path: Path, card: dict[str, Any], tensors: dict[str, np.ndarray]) -> None:
    """A file with a card and tensors and nothing that ONNX Runtime could run."""
    kept = [numpy_helper.from_array(np.ascontiguousarray(value), name) for name, value in tensors.items()]
    proto = onnx.helper.make_model(onnx.helper.make_graph([], "by_hand", [], [], kept))
    set_card(proto, card)
    onnx.save(proto, path)


def graph_of(path: Path) -> Graph:
    """The graph of an artifact with its weights, int8 ones times their scale in float64: what the numbers mean."""
    proto, card = onnx.load(path), read_card(path)
    tensors = {t.name: numpy_helper.to_array(t) for t in proto.graph.initializer}
    nodes = []
    for node in card["graph"]["nodes"]:
        params: dict[str, np.ndarray] = {}
        for key, name in node["params"].items():
            if key == "alpha" and node["attrs"]["charge"] == "folded":
                params[key] = 1 - tensors[f"{node['name']}.one_minus_alpha"].astype(np.float64)
            else:
                params[key] = tensors[name]
        scale = params.pop("scale", None)
        if scale is not None:
            weight = params["weight"]
            if node["op"] == "Conv":
                weight = (weight ^ 128).view(np.int8)
            weight = weight.T if node["op"] == "Linear" else weight
            params["weight"] = weight * scale.astype(np.float64).reshape(-1, *(1,) * (weight.ndim - 1))
        nodes.append(Node(node["name"], node["op"], tuple(node["inputs"]), tuple(node["shape"]), node["attrs"], params))
    record = card["graph"]
    return Graph(tuple(card["input"]["shape"]), tuple(nodes), record["output"], record["input"])
