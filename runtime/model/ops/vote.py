"""Vote: the mean of `voters` neighbouring neurons for each class, which is what y is in most networks that decide."""

from __future__ import annotations

from types import ModuleType

import numpy as np

from runtime.model.ops.operation import Backend, NirWriter, Node, OnnxEmitter, Params, Shape, Value, register
from runtime.model.refusals import require


def _vote(m: Backend, node: Node, p: Params, x: Value) -> Value:
    return m.mean(m.reshape(x, (node.shape[0], node.attrs["voters"])), (2,))


def _onnx(e: OnnxEmitter, node: Node, x: str) -> str:
    shape = e.weight(f"{node.name}.shape", np.array([-1, node.shape[0], node.attrs["voters"]], np.int64))
    axes = e.weight(f"{node.name}.axes", np.array([2], np.int64))
    voters = e.op("Reshape", [x, shape], f"{node.name}.voters")
    return str(e.op("ReduceMean", [voters, axes], node.name, keepdims=0))


def _to_nir(nir: ModuleType, node: Node, shape: Shape, options: NirWriter) -> object:
    advice = "--set votes=fold makes a Linear of it, with weights of 1 / voters"
    require(options.fold_votes, "NIR has no vote", advice)
    voters = int(node.attrs["voters"])
    return nir.Linear(np.repeat(np.eye(shape[0] // voters, dtype=np.float32), voters, axis=1) / np.float32(voters))


register("Vote", _vote, attrs=("voters",), onnx=_onnx, to_nir=_to_nir)
