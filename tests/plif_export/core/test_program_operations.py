"""Each operation of a neuron's program: what PyTorch, the golden model, ONNX Runtime and generated C make of the same numbers."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnxruntime as ort
import pytest
import torch
from torch import Tensor

from plif_export.core.proof.arithmetic import interpret
from plif_export.core.writers import FORMS
from plif_export.targets.c.compiled import find_compiler
from runtime.core.model.graph import Graph
from runtime.neurons.traced_program.program import EXACT, OPS
from tests.plif_export.targets.c.test_c_of_traced_neurons import as_c
from tests.programs import traced

IN_PYTORCH: dict[str, Callable[..., Tensor]] = {
    "Add": torch.add, "Sub": torch.sub, "Mul": torch.mul, "Div": torch.div, "Min": torch.minimum, "Max": torch.maximum,
    "Neg": torch.neg, "Abs": torch.abs, "Relu": torch.relu, "Round": torch.round, "Floor": torch.floor,
    "Ceil": torch.ceil, "Identity": torch.clone, "Exp": torch.exp, "Sigmoid": torch.sigmoid, "Tanh": torch.tanh,
    "Sqrt": torch.sqrt, "Log": torch.log, "Clip": torch.clamp, "Where": torch.where, "Cast": lambda c: c.float(),
    "Greater": torch.gt, "GreaterOrEqual": torch.ge, "Less": torch.lt, "Equal": torch.eq,
    "Not": torch.logical_not, "And": torch.logical_and, "Or": torch.logical_or,
}  # fmt: skip


@pytest.mark.parametrize("op", OPS)
def test_an_operation_gives_the_bits_of_pytorch_in_the_golden_model_and_in_each_file(op: str, tmp_path: Path) -> None:
    """Those of EXACT; the others within a few units in the last place. On numbers of all sizes, halves and whole numbers."""
    rng = np.random.default_rng(0)
    x, v = (rng.normal(0, 1, 3000) * 10 ** rng.uniform(-3, 1, 3000) for _ in range(2))
    x[:900], v[:600] = np.round(x[:900] * 4) / 4, np.round(v[:600] * 4) / 4
    if op in ("Sqrt", "Log"):
        x = np.abs(x) + 1e-3
    x, v = x.astype(np.float32), v.astype(np.float32)
    wanted, gives = OPS[op]
    truths = [["p", "Greater", "x", "v"], ["q", "Less", "v", 0.5]]
    names = ["p", "q"] if wanted[0] == "a truth value" else ["x", "v", 0.75]
    operands = ["p", "x", "v"] if op == "Where" else ["x", -0.5, 0.75] if op == "Clip" else names[: len(wanted)]
    program = [*truths, ["made", op, *operands]]
    result = "made"
    if gives == "a truth value":
        program.append(["result", "Cast", "made"])
        result = "result"
    attrs = {"states": {"v": 0.0}, "program": program, "h": result, "s": result, "next": {"v": result}, "graded": True}
    graph = Graph((3000,), (traced("n", ("x",), (3000,), attrs),), "n_neuron")
    a, b = torch.from_numpy(x), torch.from_numpy(v)
    known: dict[Any, Any] = {"x": a, "v": b, "p": a > b, "q": b < 0.5}
    expected = IN_PYTORCH[op](*(known.get(o, o) for o in operands)).float().numpy()
    golden = interpret.step(graph, x[None], {"n": v[None]})[0][0]
    session = ort.InferenceSession(
        FORMS["step"](graph, 1, None).SerializeToString(), providers=["CPUExecutionProvider"]
    )
    in_file = session.run(["y"], {"x": x[None], "v.n": v[None]})[0][0]
    results = [golden, in_file]
    if find_compiler() is not None:
        results.append(as_c(graph, tmp_path).run_call(x[None, None], {"n": {"v": v[None]}}).y[0, 0])
    for found in results:
        if op in EXACT:
            np.testing.assert_array_equal(found, expected)
        else:
            np.testing.assert_allclose(found, expected, rtol=2e-6, atol=1e-7)
