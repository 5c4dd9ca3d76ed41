"""Every program of bench/ runs, in short, and its numbers are looked at: whole runs are started by hand, and write the docs."""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import plif_train
from bench import additions, report
from bench.report_page import write_page
from bench.report_pieces import about
from bench.workload import Workload
from plif_export import export
from runtime.core.events import write_nmnist
from runtime.engines.event_program.layout import count_lanes
from tests.browser import find_chromium
from tests.conftest import REPOSITORY
from tests.networks import digits_network, frames
from tests.recordings import some_events

BENCH = REPOSITORY / "bench"
# The arguments of a short run of each program; a name in braces is a file of `files`.
SHORT = {
    "additions": "--workload {net} --rounds 1 --json",
    "c": "--model {net} --frames {frames} --precision fp32,int4 --rounds 1",
    "confined": "--model {net} --rounds 2 --steps 5 --json",
    "contention": "--workload {net} --busy 0,1 --rounds 1 --steps 3 --json",
    "density": "--rates 0.1 --rounds 1 --steps 2 --json",
    "eval": "--samples 20 --rounds 1 --json",
    "eval_size": "--sizes 20,40 --workers 1 --json",
    "events": "--events 20000 --rounds 1 --json",
    "lazy": "--rounds 1 --json",
    "loop": "--model {net} --T 5 --rounds 1 --json",
    "maths": "--model {net} --rounds 1 --steps 3 --json",
    "neurons": "--rounds 1 --steps 2 --only PLIF,Leaky --json",
    "precision": "--model {net} --rounds 1 --steps 3 --json",
    "report": "--list",
    "roofline": "--json",
    "same": "run {plif} {out} --only check",
    "silence": "--workload {net} --rounds 1 --silent 30 --json",
    "sparse": "--channels 16 --images 4 --rounds 1",
    "startup": "--processes 1 --json",
    "step": "--workload {net} --threads 1 --rounds 1 --steps 5 --json",
    "stream_step": "{onnx} --seconds 1 --repeats 1 --json",
    "streams": "--workload {net} --streams 1,2 --threads 1 --rounds 1 --json",
    "train": "--presets fashion-mnist --batch 2 --rounds 1 --json",
    "udp": "--rates 0.1 --seconds 1 --json",
    "watching": "--model {net} --rounds 2 --json",
    "web": "{page} --digits {recordings} --limit 1",
}
# decide, edge, metamorphic, people, cells, own_gestures, second_opinion: test_bench_*.py; soaks: test_long_runs.py of reliability
ELSEWHERE = {
    *("cells", "decide", "edge", "metamorphic", "own_gestures", "people", "second_opinion"),
    *("soak", "soak_files", "soak_live"),
}
NEVER_ZERO = re.compile("(p50|p99|median|every|lazy|stepped|streamed|roof|least|million|steps|samples|additions)_")
QUICK = "event,onnxruntime,openvino-,pytorch,spikingjelly"  # without what takes longest: torch.compile, OpenVINO's own artifacts


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """What the short runs read, by the names in SHORT."""
    folder = tmp_path_factory.mktemp("benches")
    found = {"plif": Path(sys.executable).with_name("plif"), "out": folder / "out", "recordings": folder / "recordings"}
    for name, file in {"net": "net.pt", "onnx": "net.onnx", "page": "digits.html", "frames": "frames.f32"}.items():
        found[name] = folder / file
    net = digits_network()
    plif_train.save(net, found["net"])
    export(net, found["onnx"], verify=False)
    export(net, found["page"], to="web", verify=False)
    frames(net, np.random.default_rng(0), T=12, streams=1).tofile(found["frames"])
    found["recordings"].mkdir()
    write_nmnist(found["recordings"] / "1.bin", some_events(300))
    return found


def output(name: str, files: dict[str, Path], *more: str) -> str:
    """What a short run of a program prints."""
    words = [word.format(**files) for word in SHORT[name].split()]
    command = [sys.executable, str(BENCH / f"{name}.py"), *words, *more]
    done = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def numbers(value: Any, key: str = "") -> Iterator[tuple[str, float]]:
    """Every number of a JSON document, with the key that it stands under."""
    if isinstance(value, dict):
        for name, part in value.items():
            yield from numbers(part, name)
    elif isinstance(value, list):
        for part in value:
            yield from numbers(part, key)
    elif isinstance(value, (int, float)):
        yield key, value


def test_every_program_of_bench_is_run_by_a_test() -> None:
    programs = {path.stem for path in BENCH.glob("*.py") if '"__main__"' in path.read_text()}
    assert programs == SHORT.keys() | ELSEWHERE and not SHORT.keys() & ELSEWHERE


@pytest.mark.large
@pytest.mark.parametrize("name", SHORT)
def test_a_short_run_prints_times_and_rates_that_are_not_zero(name: str, files: dict[str, Path]) -> None:
    if name == "web" and find_chromium() is None:
        pytest.skip("no Chromium on this machine")
    text = output(name, files)
    if not text.startswith(("{", "[")):
        assert len(text.splitlines()) > 1
        return
    document = json.loads(text) if "\n{" not in text.strip() else [json.loads(line) for line in text.splitlines()]
    found = list(numbers(document))
    assert found and all(math.isfinite(number) for _, number in found)
    assert not [key for key, number in found if NEVER_ZERO.search(key) and number <= 0]


def additions_a_step(net: plif_train.Network, x: np.ndarray) -> list[float]:
    """Millions of weights that each layer adds in a step, on x [T, 1, C, H, W] from reset.

    They are the inputs that are not zero, each as often as there is an output that it reaches.
    """
    sums = dict[str, float]()

    def count(name: str, module: Any, inputs: torch.Tensor) -> None:
        taps = (inputs != 0).float()
        if isinstance(module, torch.nn.Conv2d):
            ones = torch.ones(1, taps.shape[1], *module.kernel_size)
            taps = torch.nn.functional.conv2d(taps, ones, stride=module.stride, padding=module.padding)
        sums[name] = sums.get(name, 0.0) + float(taps.sum()) * count_lanes(module.weight.shape[0])

    hooks = [
        module.register_forward_pre_hook(lambda module, inputs, name=name: count(name, module, inputs[0]))
        for name, module in net.named_modules()
        if isinstance(module, torch.nn.Conv2d | torch.nn.Linear)
    ]
    net.reset()
    with torch.no_grad():
        for frame in x:
            net.step(torch.from_numpy(frame))
    for hook in hooks:
        hook.remove()
    return [total / len(x) / 1e6 for total in sums.values()]


@pytest.mark.parametrize("precision", additions.PRECISIONS)
def test_additions_are_counted_of_every_layer_beside_a_best_rate(precision: str, tmp_path: Path) -> None:
    """bench/additions.py reads the engine's spikes out of its working memory; PyTorch's layers have the same."""
    net = digits_network()
    x = frames(net, np.random.default_rng(2), T=4, streams=1)
    expected = additions_a_step(net, x)
    part = additions.measure(Workload(net, x, "", ""), "net", precision, 1, tmp_path)
    rows = part["rows"]
    assert part["roof_g_per_s"] > 0.1 and len(rows) == 4
    assert all(row["ms"] > 0 and row["least_ms"] > 0 and 0 < row["share"] < 2 for row in rows)
    found = [row["additions_m"] for row in rows]
    assert found[0] == pytest.approx(expected[0], rel=1e-6)
    tolerance = 1e-6 if precision == "fp32" else 0.3  # int8 has other weights, hence other spikes
    assert found == pytest.approx(expected, rel=tolerance)


def test_the_page_of_performance_is_written_of_what_was_measured(tmp_path: Path) -> None:
    """Nothing in it is typed; python bench/report.py --run '' writes it."""
    pytest.importorskip("matplotlib", reason="the page's figures need matplotlib")
    write_page(tmp_path / "performance.md", tmp_path / "performance", report.stored())
    assert (tmp_path / "performance.md").read_text() == (REPOSITORY / "docs" / "performance.md").read_text()
    parts = report.stored()["additions"]["reports"][0]["parts"]
    assert all(part["roof_g_per_s"] > 1 and part["rows"] for part in parts.values())


def test_a_section_of_another_machine_says_so() -> None:
    parts = {
        name: {
            "command": name,
            "date": "-",
            "reports": [{"machine": {"processor": "x", "cores": 2, "event_path": path}}],
        }
        for name, path in (("additions", "avx2"), ("density", "avx512"), ("eval", "avx512"))
    }
    assert "Another machine: x, 2 cores, event path avx2." in about(parts, "additions")
    assert "Another" not in about(parts, "density", "eval")


def test_engines_and_peers_step_the_same_network_to_the_same_spikes(files: dict[str, Path]) -> None:
    """bench/step.py with bench/peers.py: every float32 engine that is installed has the spikes of PyTorch."""
    found = json.loads(output("step", files, f"--only={QUICK}"))
    rows = {row["name"]: row for row in found["rows"]}
    assert {"event fp32", "onnxruntime fp32", "event again", "PyTorch eager", "ONNX Runtime, torch.onnx"} <= rows.keys()
    assert all(0 < row["p50_ms"] <= row["p99_ms"] for row in rows.values())
    assert {name: row["spike_mismatches"] for name, row in rows.items() if row["precision"] == "fp32"} == {
        name: 0 for name, row in rows.items() if row["precision"] == "fp32"
    }
    assert all(0.01 < rate < 0.3 for rate in found["firing_rates"].values()) and found["input_nonzero"] > 0.01
