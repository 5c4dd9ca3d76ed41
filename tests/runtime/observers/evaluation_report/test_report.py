"""plif eval --out writes a report that stands alone; its curves, its early exit and its stress are what they say."""

from __future__ import annotations

import csv
import json
import re
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import runtime
from plif_export import export
from runtime.core.cli.main import run
from runtime.core.data.dataset import EventSet
from runtime.core.events import write_nmnist
from runtime.core.measure.evaluate.batches import Trace
from runtime.core.measure.evaluate.evaluation import evaluate
from runtime.core.measure.evaluate.predictions import Prediction
from runtime.core.measure.evaluate.samples import DatasetSplit
from runtime.native.rules import compute_leads as leads
from runtime.native.rules import exit_lead as needed
from runtime.observers.evaluation_report import curves
from runtime.observers.evaluation_report.curves import exit_curve, first_step
from runtime.observers.evaluation_report.png import encode_png
from runtime.observers.evaluation_report.report import make_report
from runtime.observers.evaluation_report.trace import trace_samples
from tests.conftest import REPOSITORY

DIGITS = "digits:20"


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("report") / "digits.onnx"
    return export(REPOSITORY / "models" / "nmnist-digits.pt", path, verify=False).path


@pytest.fixture(scope="module")
def report(shipped: Path) -> Path:
    """A report with everything in it."""
    out = shipped.parent / "results"
    other = export(
        REPOSITORY / "models" / "nmnist-digits.pt", out.parent / "q.onnx", precision="int8", verify=False
    ).path
    arguments = [
        "eval",
        str(shipped),
        "--data",
        DIGITS,
        "--out",
        str(out),
        "--against",
        str(other),
        "--engine",
        "onnxruntime",
    ]
    assert run([*arguments, "--exit-margin", "off"]) == 0
    return out


def rows_of(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def test_the_page_stands_alone_and_has_no_empty_section(report: Path) -> None:
    page = (report / "report.html").read_text()
    assert "<script" not in page and "http-equiv" not in page
    addresses = re.findall(r"(?:src|href)=\"([^\"]+)\"|url\(([^)]*)\)", page)
    assert all(one.startswith("data:image/png;base64,") for pair in addresses for one in pair if one)
    titles = re.findall(r"<h2>([^<]+)</h2>", page)
    for title in ("Classes", "Early exit", "What a score is worth", "Neurons", "Synaptic operations", "Time"):
        assert title in titles
    assert "Under stress" not in titles
    sections = page.split("<section>")[1:]
    assert len(sections) == len(titles) and all("<svg" in s or "<table" in s or "<code" in s or "<img" in s
                                                 or "McNemar" in s for s in sections)  # fmt: skip
    assert len(page) < 1_000_000


def test_every_figure_has_its_numbers_beside_it(report: Path) -> None:
    names = {path.stem for path in (report / "figures").glob("*.csv")}
    assert {"accuracy-by-steps", "accuracy-by-events", "early-exit", "calibration", "latency", "layers", "channels",
            "synaptic-operations"} <= names  # fmt: skip
    content = json.loads((report / "report.json").read_text())
    assert set(content["figures"]) == names
    metrics = json.loads((report / "metrics.json").read_text())
    last = rows_of(report / "figures" / "accuracy-by-steps.csv")[-1]
    assert (int(last["steps"]), float(last["accuracy"])) == (10, metrics["accuracy"])
    assert float(rows_of(report / "figures" / "accuracy-by-events.csv")[-1]["accuracy"]) == metrics["accuracy"]
    assert sum(int(row["samples"]) for row in rows_of(report / "figures" / "latency.csv")) == 20
    assert {row["layer"] for row in rows_of(report / "figures" / "layers.csv")} == set(metrics["firing_rates"])
    assert metrics["against"]["p"] <= 1 and (report / "confusion.png").is_file()


def test_the_model_card_has_a_head_that_yaml_readers_read(report: Path) -> None:
    text = (report / "README.md").read_text()
    head = text.split("---\n")[1]
    fields = {key: json.loads(value) for key, value in (line.split(": ", 1) for line in head.splitlines())}
    metrics = json.loads((report / "metrics.json").read_text())
    found = fields["model-index"][0]["results"][0]["metrics"][0]
    assert found == {"type": "accuracy", "value": metrics["accuracy"]} and fields["library_name"] == "plif"
    assert metrics["artifact"]["sha256"] in text


def test_names_of_others_cannot_leave_the_page(shipped: Path, tmp_path: Path) -> None:
    from runtime.observers.evaluation_report.page import render_page
    from runtime.observers.evaluation_report.report import EvaluationReport

    model = runtime.load(shipped, "onnxruntime")
    result = evaluate(model, DIGITS, limit=2)
    evil = "<img src=x onerror=alert(1)>\n\"'&"
    bad = replace(result, classes=[evil, *result.classes[1:]], data=evil, artifact={"path": evil, "bytes": 1})
    bad.per_class[0]["class"] = evil
    text = render_page(
        EvaluationReport(bad, {**model.card, "notation": evil, "provenance": {evil: evil}}, command=evil)
    )
    assert "<img src=x" not in text and "&lt;img src=x" in text


def test_curves_are_of_the_steps_that_evaluation_took_and_nothing_runs_again(shipped: Path, tmp_path: Path) -> None:
    model = runtime.load(shipped, "onnxruntime")
    again = trace_samples(model, DatasetSplit(DIGITS).open(model), range(20))
    result = evaluate(model, DIGITS, out=tmp_path, batch=7)
    for found, expected in zip(result.traces, again, strict=True):
        assert (found.sample, found.truth) == (expected.sample, expected.truth)
        np.testing.assert_array_equal(found.votes, expected.votes)
        np.testing.assert_array_equal(found.events, expected.events)
    heard: list[int] = []
    report = make_report(model, result, tmp_path, progress=lambda done, of: heard.append(done))
    assert report.traced == 20 and not heard, "samples were run again"
    early = evaluate(model, DIGITS, out=tmp_path, exit_margin=0.2)
    assert not early.traces and make_report(model, early, tmp_path).traced == 20, "all steps are run for the curves"


def test_an_early_exit_in_evaluation_is_the_one_of_the_curve_and_of_the_stream(shipped: Path, tmp_path: Path) -> None:
    model = runtime.load(shipped, "onnxruntime")
    dataset = DatasetSplit(DIGITS).open(model)
    traces = trace_samples(model, dataset, range(20))
    margin = 0.2
    at = [first_step(leads(one.evidence), needed(margin, model.voters, model.T)) for one in traces]
    found = evaluate(model, DIGITS, limit=20, exit_margin=margin, batch=7, out=tmp_path)
    rows = rows_of(tmp_path / "predictions.csv")
    assert [int(row["steps"]) for row in rows] == [t + 1 for t in at]
    assert found.predictions == [int(one.answers[t]) for one, t in zip(traces, at, strict=True)]
    assert found.mean_steps == np.mean([t + 1 for t in at]) < 10 and found.T <= 10

    assert isinstance(dataset, EventSet)
    for i in range(3):
        write_nmnist(tmp_path / f"{i}.bin", dataset.recording(i)[0])
        decisions = list(model.stream(str(tmp_path / f"{i}.bin"), decide=f"sum,exit={margin}"))
        assert len(decisions) == at[i] + 1 and decisions[-1].index == found.predictions[i]


def a_trace(votes: list[list[int]], truth: int, events: list[float]) -> Trace:
    return Trace(0, truth, np.array(votes, float), np.array(events))


def test_curves_are_what_can_be_computed_by_hand() -> None:
    traces = [
        a_trace([[1, 0], [0, 2], [0, 3]], 1, [10, 10, 10]),  # wrong, right, right
        a_trace([[2, 0], [2, 0]], 0, [5, 25]),  # right at once
    ]
    assert [row["correct"] for row in curves.accuracy_by_steps(traces)] == [1, 2, 2]
    events = {row["events"]: row["correct"] for row in curves.accuracy_by_events(traces)}
    assert events[4] == 0 and events[5] == 1 and events[19] == 1 and events[20] == 2 and events[30] == 2
    rows = {row["margin"]: row for row in exit_curve(traces, voters=4, T=3)}
    assert list(rows) == [pytest.approx(n / 12, rel=1e-5) for n in (1, 2, 4)]
    first, second, last = rows.values()
    assert (first["steps"], first["lost"], first["correct"]) == (1, 1, 1)  # the first leads by 1 at once, and is wrong
    assert (second["steps"], second["lost"], second["correct"]) == (2, 0, 2)
    assert (last["steps"], last["correct"]) == (2.5, 2)


def test_calibration_of_scores_by_hand() -> None:
    one = [Prediction(i, "", truth, scores) for i, (truth, scores) in enumerate(
        [(0, (0.9, 0.1)), (0, (0.9, 0.1)), (1, (0.9, 0.1)), (1, (0.1, 0.5))])]  # fmt: skip
    rows, ece = curves.reliability_bins(one)
    assert [(row["samples"], row["accuracy"], row["score"]) for row in rows] == [
        (1, 1.0, 0.5), (3, pytest.approx(2 / 3), pytest.approx(0.9)),
    ]  # fmt: skip
    assert ece == pytest.approx(0.25 * 0.5 + 0.75 * (0.9 - 2 / 3))
    assert curves.reliability_bins([Prediction(0, "", 0, (3.0, -1.0))]) == ([], None)


def test_a_png_of_ours_is_a_png() -> None:
    image = np.random.default_rng(0).random((5, 7, 3))
    data = encode_png(image)
    at = data.index(b"IDAT")
    lines = np.frombuffer(zlib.decompress(data[at + 4 : data.index(b"IEND") - 8]), np.uint8).reshape(5, 1 + 3 * 7)
    assert (lines[:, 0] == 0).all() and np.abs(lines[:, 1:].reshape(5, 7, 3) / 255 - image).max() <= 0.5 / 255 + 1e-9
    assert data[16:24] == (7).to_bytes(4, "big") + (5).to_bytes(4, "big")


@pytest.mark.large
def test_a_network_of_others_goes_from_its_own_file_to_a_report_in_two_commands(
    nmnist: Path, shared_data: Path, tmp_path: Path
) -> None:
    checkpoint = shared_data / "checkpoints" / "spikingjelly_if_nmnist_T16.pth"
    network, net, out = "c16k3s2-IF-{c32k3s2-IF}*2-{c64k3s2-IF}*3-FC10-IF", tmp_path / "net.onnx", tmp_path / "results"
    said = ["--network", network, "--classes", ",".join("0123456789"), "--framing", "count:T=16", "-o", str(net)]
    assert run(["export", str(checkpoint), *said]) == 0
    assert run(["eval", str(net), "--data", f"nmnist:{nmnist}", "--out", str(out)]) == 0
    assert json.loads((out / "metrics.json").read_text())["correct"] >= 97
    assert "Synaptic operations" in (out / "report.html").read_text()
