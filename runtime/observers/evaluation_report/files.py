"""The files of a report: the page, the model card, and the numbers of each figure.

The model card is README.md as Hugging Face reads it, Markdown behind a head of YAML: https://huggingface.co/docs/hub/model-cards
says what the head may hold. Numbers are those of the evaluation, to the digit.
"""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import numpy as np

from runtime.core.base.files import make_folder, whole_or_nothing
from runtime.core.base.text import cell, markdown, printable
from runtime.core.model.grids import named_in, sentences
from runtime.observers.evaluation_report.page import page
from runtime.observers.evaluation_report.png import confusion_picture, png
from runtime.observers.evaluation_report.report import EvaluationReport
from runtime.observers.evaluation_report.synops import ENERGY_SOURCE

FIGURES = "figures"  # the folder with a CSV file for each curve
REPORT_JSON, REPORT_HTML = "report.json", "report.html"


def write_report(report: EvaluationReport, folder: Path) -> list[Path]:
    """confusion.png, report.html, report.json, README.md and a CSV file for each figure, which go away where they are of an older
    report; returns the first four."""
    figures = make_folder(folder / FIGURES)
    for old in figures.glob("*.csv"):
        old.unlink()
    content: dict[str, object] = {
        "ece": report.ece,
        "traced": report.traced,
        "left_out": report.left_out,
        "figures": report.figures,
    }
    if report.activity is not None:
        content["activity"] = report.activity.to_dict()
    texts = {
        folder / REPORT_HTML: page(report),
        folder / REPORT_JSON: json.dumps(content, indent=1) + "\n",
        folder / "README.md": model_card(report),
    }
    result, picture = report.result, folder / "confusion.png"
    title = f"{result.data}: {100 * result.accuracy:.2f} % of {result.samples}"
    with whole_or_nothing(*texts, picture) as (*parts, drawn):
        drawn.write_bytes(png(confusion_picture(np.array(result.confusion), result.classes, title)))
        for part, text in zip(parts, texts.values(), strict=True):
            part.write_text(text, encoding="utf-8", errors="replace")
    tables = {figures / f"{name}.csv": rows for name, rows in report.figures.items()}
    with whole_or_nothing(*tables) as parts:
        for part, rows in zip(parts, tables.values(), strict=True):
            with part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
                table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                table.writeheader()
                table.writerows({k: cell(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows)
    return [picture, *texts]


MOST = 400  # characters of a text of others


def model_card(report: EvaluationReport) -> str:
    """The whole file as text."""
    r, card = report.result, report.card
    found = card.get("provenance")
    provenance: dict[str, object] = found if isinstance(found, dict) else {}
    name = str(r.artifact.get("path", "network")).rsplit("/", 1)[-1]
    file = printable(shlex.quote(name))
    task = "image-classification" if card["input"]["kind"] == "static" else "other"  # the hub has none for events
    head = {
        "license": provenance.get("licence"),
        "library_name": "plif",
        "pipeline_tag": task,
        "tags": ["spiking-neural-network", "plif", "onnx", *["event-camera"] * (card["input"]["kind"] == "events")],
        "model-index": [{"name": name, "results": [_result(report, task)]}],
    }
    low, high = (100 * end for end in r.interval)
    rows: list[tuple[str, str | None]] = [
        ("accuracy", f"{100 * r.accuracy:.2f} % ({r.correct} of {r.samples}; 95 % interval {low:.1f} to {high:.1f})"),
        ("without an answer", f"{r.unanswered}, counted as wrong" if r.unanswered else None),
        ("macro F1", None if r.macro_f1 is None else f"{100 * r.macro_f1:.2f} %"),
        ("data", markdown(f"{r.data}, {r.split} split", MOST)),
        (
            "steps a sample",
            f"{r.mean_steps:.3g}" + ("" if r.exit_margin is None else f" (early exit {r.exit_margin:g})"),
        ),
        ("engine", markdown(f"{r.engine}, {card.get('precision', '')}", MOST)),
        ("weights", markdown("; ".join(sentences(named_in(card), advice=False)), MOST) or None),
        ("network", _code(card.get("notation"))),
        ("input", " x ".join(map(str, card["input"]["shape"]))),
        ("framing", _code(card.get("framing"))),
        ("classes", markdown(", ".join(r.classes[:40]), MOST)),
        ("SHA-256", _code(r.artifact.get("sha256"))),
    ]
    if report.activity is not None:
        rows.append(("synaptic operations a sample", f"{report.activity.synops:,.0f}"))
        rows.append(("energy a sample, estimate", f"{report.activity.nanojoules / 1e3:.3g} µJ ({ENERGY_SOURCE})"))
    rows += [
        (f"provenance: {markdown(key, MOST)}", markdown(str(value), MOST))
        for key, value in provenance.items()
        if value is not None
    ]
    table = "\n".join(f"| {key} | {value} |" for key, value in rows if value is not None)
    return (
        f"---\n{_yaml(head)}---\n\n# {markdown(name, MOST)}\n\nA spiking neural network, exported and evaluated with plif.\n\n"
        f"| | |\n|---|---|\n{table}\n\nThe whole evaluation is in [report.html](report.html), its numbers in "
        "[metrics.json](metrics.json).\n\n"
        f"```sh\nplif info {file}\n{printable(report.command or f'plif eval {file} --data {r.data}')}\n```\n"
    )


def _result(report: EvaluationReport, task: str) -> dict[str, object]:
    r = report.result
    return {
        "task": {"type": task, "name": "classification"},
        "dataset": {"name": r.data, "type": r.data.partition(":")[0], "split": r.split},
        "metrics": [{"type": "accuracy", "value": round(r.accuracy, 6)}]
        + ([] if r.macro_f1 is None else [{"type": "f1", "value": round(r.macro_f1, 6)}]),
    }


def _yaml(head: dict[str, object]) -> str:
    """JSON is YAML, too: one line a key, and no text of others can leave its quotes."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in head.items() if value is not None)


def _code(text: object) -> str | None:
    return f"<code>{markdown(str(text), MOST)}</code>" if text else None
