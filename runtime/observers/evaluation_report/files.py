"""The files of a report: the page, the model card, and the numbers of each figure.

The model card is README.md in Hugging Face's format, Markdown with a YAML header:
https://huggingface.co/docs/hub/model-cards has the keys of the header. Numbers are those of the evaluation, to the
digit.
"""

from __future__ import annotations

import csv
import json
import shlex
from pathlib import Path

import numpy as np

from runtime.core.base.files import atomic_write, make_folder
from runtime.core.base.text import escape_csv_cell, escape_markdown, printable
from runtime.core.model.grids import describe_quantized, list_quantized
from runtime.observers.evaluation_report.page import render_page
from runtime.observers.evaluation_report.png import draw_confusion_image, encode_png
from runtime.observers.evaluation_report.report import EvaluationReport
from runtime.observers.evaluation_report.synops import ENERGY_SOURCE

FIGURES = "figures"  # the folder with a CSV file for each curve
REPORT_JSON, REPORT_HTML = "report.json", "report.html"


def write_report(report: EvaluationReport, folder: Path) -> list[Path]:
    """Write the files of an evaluation report; return the paths of four of them, such as report.html.

    It also writes a CSV file for each figure, and removes those of an older report.
    """
    figures = make_folder(folder / FIGURES)
    for table_file in figures.glob("*.csv"):
        table_file.unlink()
    content: dict[str, object] = {
        "ece": report.ece,
        "traced": report.traced,
        "left_out": report.left_out,
        "figures": report.csv_tables,
    }
    if report.activity is not None:
        content["activity"] = report.activity.to_dict()
    texts = {
        folder / REPORT_HTML: render_page(report),
        folder / REPORT_JSON: json.dumps(content, indent=1) + "\n",
        folder / "README.md": render_model_card(report),
    }
    evaluation, picture = report.evaluation, folder / "confusion.png"
    title = f"{evaluation.data}: {100 * evaluation.accuracy:.2f} % of {evaluation.samples}"
    with atomic_write(*texts, picture) as (*parts, drawn):
        drawn.write_bytes(encode_png(draw_confusion_image(np.array(evaluation.confusion), evaluation.classes, title)))
        for part, text in zip(parts, texts.values(), strict=True):
            part.write_text(text, encoding="utf-8", errors="replace")
    tables = {figures / f"{name}.csv": rows for name, rows in report.csv_tables.items()}
    with atomic_write(*tables) as parts:
        for part, rows in zip(parts, tables.values(), strict=True):
            with part.open("w", newline="", encoding="utf-8", errors="backslashreplace") as file:
                table = csv.DictWriter(file, list(rows[0]), lineterminator="\n")
                table.writeheader()
                table.writerows(
                    {k: escape_csv_cell(v) if isinstance(v, str) else v for k, v in row.items()} for row in rows
                )
    return [picture, *texts]


MAX_TEXT = 400  # characters of an untrusted text


def render_model_card(report: EvaluationReport) -> str:
    """Return the text of the model card (README.md) of an evaluated artifact."""
    r, card = report.evaluation, report.card
    entry = card.get("provenance")
    provenance: dict[str, object] = entry if isinstance(entry, dict) else {}
    name = str(r.artifact.get("path", "network")).rsplit("/", 1)[-1]
    file = printable(shlex.quote(name))
    task = "image-classification" if card["input"]["kind"] == "static" else "other"  # the hub has no task for events
    header = {
        "license": provenance.get("licence"),
        "library_name": "plif",
        "pipeline_tag": task,
        "tags": ["spiking-neural-network", "plif", "onnx", *["event-camera"] * (card["input"]["kind"] == "events")],
        "model-index": [{"name": name, "results": [_hub_result(report, task)]}],
    }
    low, high = (100 * end for end in r.interval)
    rows: list[tuple[str, str | None]] = [
        ("accuracy", f"{100 * r.accuracy:.2f} % ({r.correct} of {r.samples}; 95 % interval {low:.1f} to {high:.1f})"),
        ("without an answer", f"{r.unanswered}, counted as wrong" if r.unanswered else None),
        ("macro F1", None if r.macro_f1 is None else f"{100 * r.macro_f1:.2f} %"),
        ("data", escape_markdown(f"{r.data}, {r.split} split", MAX_TEXT)),
        (
            "steps a sample",
            f"{r.mean_steps:.3g}" + ("" if r.exit_margin is None else f" (early exit {r.exit_margin:g})"),
        ),
        ("engine", escape_markdown(f"{r.engine}, {card.get('precision', '')}", MAX_TEXT)),
        (
            "weights",
            escape_markdown("; ".join(describe_quantized(list_quantized(card), advice=False)), MAX_TEXT) or None,
        ),
        ("network", _code(card.get("notation"))),
        ("input", " x ".join(map(str, card["input"]["shape"]))),
        ("framing", _code(card.get("framing"))),
        ("classes", escape_markdown(", ".join(r.classes[:40]), MAX_TEXT)),
        ("SHA-256", _code(r.artifact.get("sha256"))),
    ]
    if report.activity is not None:
        rows.append(("synaptic operations a sample", f"{report.activity.synops:,.0f}"))
        rows.append(("energy a sample, estimate", f"{report.activity.nanojoules / 1e3:.3g} µJ ({ENERGY_SOURCE})"))
    rows += [
        (f"provenance: {escape_markdown(key, MAX_TEXT)}", escape_markdown(str(value), MAX_TEXT))
        for key, value in provenance.items()
        if value is not None
    ]
    table = "\n".join(f"| {key} | {value} |" for key, value in rows if value is not None)
    return (
        f"---\n{_to_yaml(header)}---\n\n# {escape_markdown(name, MAX_TEXT)}\n\n"
        "A spiking neural network, exported and evaluated with plif.\n\n"
        f"| | |\n|---|---|\n{table}\n\nThe whole evaluation is in [report.html](report.html), its numbers in "
        "[metrics.json](metrics.json).\n\n"
        f"```sh\nplif info {file}\n{printable(report.command or f'plif eval {file} --data {r.data}')}\n```\n"
    )


def _hub_result(report: EvaluationReport, task: str) -> dict[str, object]:
    r = report.evaluation
    return {
        "task": {"type": task, "name": "classification"},
        "dataset": {"name": r.data, "type": r.data.partition(":")[0], "split": r.split},
        "metrics": [{"type": "accuracy", "value": round(r.accuracy, 6)}]
        + ([] if r.macro_f1 is None else [{"type": "f1", "value": round(r.macro_f1, 6)}]),
    }


def _to_yaml(header: dict[str, object]) -> str:
    """Format the header of a model card (README.md) as YAML, one key per line.

    JSON is valid YAML, and untrusted text cannot leave its quotes.
    """
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in header.items() if value is not None)


def _code(text: object) -> str | None:
    return f"<code>{escape_markdown(str(text), MAX_TEXT)}</code>" if text else None
