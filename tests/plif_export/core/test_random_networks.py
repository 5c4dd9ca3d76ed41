"""Breadth: 20 random networks x hard, soft x one tau a layer, one a channel x step, unrolled x T of 1, 7, 64 x both maths.

Each passes the gate from a non-zero start state, with membranes within one bound of rounding. A sample runs always;
`pytest -m large` runs all.
"""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import NamedTuple

import pytest

import runtime
from plif_export.core.cards import make_card, set_card
from plif_export.core.passes import run_passes
from plif_export.core.proof.report import Report
from plif_export.core.prove import prove
from plif_export.core.readers import read_model
from plif_export.core.targets import find_target
from plif_export.core.targets.target import ExportJob
from plif_export.core.writers import FORMS
from runtime.native import is_built
from tests.conftest import crossed
from tests.random_networks import SEEDS, random_network

MEMBRANES = 1  # bounds (plif_export/core/proof/arithmetic/bounds.py)
STEPS = (1, 7, 64)
# ONNX Runtime is the gate's own; the others open the file (OpenVINO its folder) through the runtime.
ENGINES = ("onnxruntime", "event", "openvino")


class Case(NamedTuple):
    seed: int
    hard: bool
    tau: str
    form: str
    T: int
    math: str
    precision: str = "fp32"

    def __str__(self) -> str:
        reset = "hard" if self.hard else "soft"
        return f"{self.seed}-{reset}-{self.tau}-{self.form}-T{self.T}-{self.math}-{self.precision}"


ALL = [
    Case(*values)
    for values in itertools.product(
        range(SEEDS), (True, False), ("layer", "channel"), ("step", "unrolled"), STEPS, ("exact", "folded")
    )
]


def sample() -> list[Case]:
    """Every network once, each option as often as its alternatives, and one of the slow ones (unrolled, T = 64)."""
    chosen = []
    for seed in range(SEEDS):
        form, T = ("step", "unrolled")[seed % 2], STEPS[seed % 3]
        if (form, T) == ("unrolled", 64) and seed > 5:
            T = 7
        chosen.append(
            Case(seed, seed % 4 < 2, ("layer", "channel")[seed // 2 % 2], form, T, ("exact", "folded")[seed // 3 % 2])
        )
    return chosen


def on_two_engines(cases: list[Case]) -> list[tuple[Case, str]]:
    """An engine beside the gate's own, in turn; the gate's own alone for 64 unrolled steps: OpenVINO compiles them slowly."""
    return [
        (c, "onnxruntime" if (c.form, c.T) == ("unrolled", 64)
         else "openvino" if c.form == "unrolled" or c.seed % 8 > 3 else "event") for c in cases
    ]  # fmt: skip


def on_engines(cases: list[Case]) -> list[tuple[Case, str]]:
    return [(case, engine) for case in cases for engine in ENGINES if case.form == "step" or engine != "event"]


def prove_case(case: Case, engine: str, folder: Path) -> Report:
    """Runs the parity gate on one case, and in its engine, too, where that is not the gate's own."""
    if engine == "event" and not is_built():
        pytest.skip("the event engine is not built (no C compiler at installation)")
    if engine == "openvino":
        pytest.importorskip("openvino", reason="OpenVINO is not installed")
    net = random_network(case.seed, case.hard, case.tau, T=case.T)
    source = read_model(net)
    graph = run_passes(source.graph, case.math, False, case.precision)
    card = make_card(
        source.facts, graph, form=case.form, T=case.T, precision=case.precision, math=case.math, batch=None,
        source_sha256=None,
    )  # fmt: skip
    target = find_target("openvino" if engine == "openvino" else "onnx")
    proto = FORMS[case.form](graph, case.T, None, target.dialect)
    set_card(proto, card)
    opened = None
    if engine != "onnxruntime":
        path = folder / f"m{target.suffix}"
        target.write(ExportJob(graph, proto, card), path)
        opened = runtime.load(path, engine)
    return prove(proto, card, source, steps=case.T, opened=opened)


def check_case(case: Case, engine: str, folder: Path) -> None:
    report = prove_case(case, engine, folder)
    assert report.passed, report.sentence()
    assert report.max_scaled_dv <= MEMBRANES
    assert report.spikes > 0 and report.spike_mismatches == report.excused
    *_, last = (layer.name for layer in report.layers)  # two to four neurons, which may well be silent for a few steps
    assert report.untested == [] or case.T == 1 or (case.T == 7 and report.untested == [last])


@pytest.mark.parametrize(("case", "engine"), on_two_engines(sample()), ids=str)
def test_random_networks_pass_the_gate(case: Case, engine: str, tmp_path: Path) -> None:
    check_case(case, engine, tmp_path)


@pytest.mark.one_in(3)
@pytest.mark.parametrize(
    ("case", "precision", "engine"), crossed(sample()[:6], ("fp16", "int8"), ("onnxruntime", "openvino"))
)
def test_random_networks_pass_the_gate_with_rounded_weights(
    case: Case, precision: str, engine: str, tmp_path: Path
) -> None:
    check_case(case._replace(precision=precision, T=min(case.T, 7)), engine, tmp_path)


def test_the_sample_holds_every_option_and_one_of_the_slow_ones() -> None:
    for option in ("seed", "hard", "tau", "form", "T", "math"):
        assert {getattr(case, option) for case in sample()} == {getattr(case, option) for case in ALL}
    assert sum((case.form, case.T) == ("unrolled", 64) for case in sample()) == 1
    assert len(ALL) == 20 * 2 * 2 * 2 * 3 * 2


@pytest.mark.large
@pytest.mark.parametrize(("case", "engine"), on_engines(ALL), ids=str)
def test_all_random_networks_pass_the_gate(case: Case, engine: str, tmp_path: Path) -> None:
    check_case(case, engine, tmp_path)
