"""README.md beside a report: a model card as Hugging Face reads it, Markdown behind a head of YAML.

https://huggingface.co/docs/hub/model-cards says what the head may hold. Numbers are those of the evaluation, to the digit.
"""

from __future__ import annotations

import json
from typing import Any

from runtime.base.text import printable
from runtime.measure.report import Report


def model_card(report: Report) -> str:
    """The whole file as text."""
    r, card = report.result, report.card
    found = card.get("provenance")
    provenance: dict[str, Any] = found if isinstance(found, dict) else {}
    name = str(r.artifact.get("path", "network")).rsplit("/", 1)[-1]
    head = {
        "license": provenance.get("licence"),
        "library_name": "plif",
        "pipeline_tag": "image-classification" if card["input"]["kind"] == "static" else "other",
        "tags": ["spiking-neural-network", "plif", "onnx", *["event-camera"] * (card["input"]["kind"] == "events")],
        "model-index": [{"name": name, "results": [_result(report)]}],
    }
    low, high = (100 * end for end in r.interval)
    rows: list[tuple[str, Any]] = [
        ("accuracy", f"{100 * r.accuracy:.2f} % ({r.correct} of {r.samples}; 95 % interval {low:.1f} to {high:.1f})"),
        ("without an answer", f"{r.unanswered}, counted as wrong" if r.unanswered else None),
        ("macro F1", None if r.macro_f1 is None else f"{100 * r.macro_f1:.2f} %"),
        ("data", f"{r.data}, {r.split} split"),
        (
            "steps a sample",
            f"{r.mean_steps:.3g}" + ("" if r.exit_margin is None else f" (early exit {r.exit_margin:g})"),
        ),
        ("engine", f"{r.engine}, {card.get('precision', '')}"),
        ("network", f"`{card['notation']}`" if card.get("notation") else None),
        ("input", " x ".join(map(str, card["input"]["shape"]))),
        ("framing", f"`{card['framing']}`" if card.get("framing") else None),
        ("classes", ", ".join(r.classes[:40])),
        ("SHA-256", f"`{r.artifact['sha256']}`" if r.artifact else None),
    ]
    if report.activity is not None:
        energy = report.activity.to_dict()["energy_estimate"]
        rows.append(("synaptic operations a sample", f"{report.activity.synops:,.0f}"))
        rows.append(("energy a sample, estimate", f"{energy['nanojoules'] / 1e3:.3g} µJ ({energy['source']})"))
    rows += list(provenance.items())
    table = "\n".join(f"| {_cell(key)} | {_cell(value)} |" for key, value in rows if value is not None)
    return (
        f"---\n{_yaml(head)}---\n\n# {_cell(name)}\n\nA spiking neural network, exported and evaluated with plif.\n\n"
        f"| | |\n|---|---|\n{table}\n\nThe whole evaluation is in [report.html](report.html), its numbers in "
        "[metrics.json](metrics.json).\n\n"
        f"```sh\nplif info {_cell(name)}\n{_cell(report.command or 'plif eval ' + name + ' --data ' + r.data)}\n```\n"
    )


def _result(report: Report) -> dict[str, Any]:
    r = report.result
    return {
        "task": {"type": "image-classification"},
        "dataset": {"name": r.data, "type": r.data.partition(":")[0], "split": r.split},
        "metrics": [{"type": "accuracy", "value": round(r.accuracy, 6)}]
        + ([] if r.macro_f1 is None else [{"type": "f1", "value": round(r.macro_f1, 6)}]),
    }


def _yaml(head: dict[str, Any]) -> str:
    """JSON is YAML, too: one line a key, and no text of others can leave its quotes."""
    return "".join(f"{key}: {json.dumps(value)}\n" for key, value in head.items() if value is not None)


def _cell(value: Any) -> str:
    return printable(str(value), 400).replace("|", "\\|").replace("`" * 3, "'" * 3)
