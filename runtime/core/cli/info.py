"""The command `plif info`: the card of a model or an artifact, facts of a recording, or the environment.

In Python: runtime.core.model.card.read_card, runtime.observers.recording_info.describe.describe_recording.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from runtime.core.base.declared import ViewOptions
from runtime.core.base.errors import PlifError
from runtime.core.base.options import Argument
from runtime.core.base.text import display_width, fit_columns
from runtime.core.cli.output import Output
from runtime.core.model.artifacts import list_suffixes
from runtime.core.model.card import Card, read_card
from runtime.core.model.digest import KEY, read_digest
from runtime.core.observers import ExtensibleOptions, find_observers


class InfoOptions(ExtensibleOptions, by="info"):
    """The options that observers add to `plif info`."""


def info(
    file: Annotated[
        str | None, Argument("A model.pt, an artifact or a recording; the environment when not given.")
    ] = None,
    *,
    options: InfoOptions,
    view: ViewOptions,
    output: Output,
) -> None:
    """Print the card of a model or an artifact, the facts of a recording, or the environment."""
    flags = [flag for option in (options, view) for flag in option.changed_flags()]
    if file is None and flags:
        raise PlifError(f"info {flags[0]}: is about a recording; name one")
    if file is not None and not flags and (card := _read_card_or_none(Path(file))) is not None:
        weights, weight_lines = describe_weights(card)
        output.show({**card, "weights": weights} if weights else card, lambda: [*format_card(card), *weight_lines])
    elif descriptions := [
        description
        for part in find_observers("info")
        for description in part.load("hear")(file, view, **options.get_part_options(part))
    ]:
        document, rows, extra_lines = descriptions[0]
        output.show(document, lambda: [*format_columns(rows), *extra_lines])
    elif file is None:
        raise PlifError("info: name a model or an artifact; no part here says what this machine has")
    else:
        raise PlifError(f"{file}: is neither a model nor an artifact, and no part here says what a recording is")


def _read_card_or_none(file: Path) -> Card | None:
    """Read the card (metadata) of a file; None if it neither is nor is named like a model or an artifact."""
    try:
        return read_card(file)
    except PlifError:
        if file.is_dir() or file.suffix in list_suffixes() | {".pth"}:
            raise
        return None


def describe_weights(card: Card) -> tuple[dict[str, str], list[str]]:
    """Return {layer: "4 bits a channel"} of an artifact's quantized weights, and lines of text about them.

    For a model, `plif check` prints them.
    """
    if not any("scale" in node["params"] for node in card.get("graph", {"nodes": []})["nodes"]):
        return {}, []  # and no NumPy is loaded
    from runtime.core.model.grids import describe_quantized, list_quantized

    weights = list_quantized(card)
    return weights, describe_quantized(weights, advice=False)


def format_card(card: Card) -> list[str]:
    """Format a card (metadata of an artifact) as lines of text; `--json` prints all of it."""
    rows = [
        ("format", f"{card['format']} {card['format_version']}"),
        ("network", card["notation"] or "-"),
        ("input", f"{card['input']['kind']} {'x'.join(map(str, card['input']['shape']))}"),
        ("T", card["T"]),
        ("classes", f"{len(card['classes'])}: {', '.join(card['classes'])}{_note_unnamed(card)}"),
        ("framing", card["framing"] or "-"),
    ]
    if card["normalisation"]:
        rows.append(("normalisation", f"mean {card['normalisation']['mean']}, std {card['normalisation']['std']}"))
    if "states" in card:
        rows += [
            ("form", f"{card['form']}, {card['precision']}, {card['math']} math, batch {card['batch'] or 'dynamic'}"),
            ("states", ", ".join(f"{s['name']} {'x'.join(map(str, s['shape']))}" for s in card["states"])),
            ("tau", ", ".join(f"{layer} {_format_tau(tau)}" for layer, tau in card["taus"].items()) or "-"),
            ("v_threshold", card["v_threshold"]),
            ("v_reset", _describe_reset(card)),
            ("output", f"{card['output']['kind']}, {card['output'].get('voters', 1)} voters a class"),
            ("source", f"SHA-256 {card['source_sha256'] or '-'}"),
            ("digest", _format_digest(card)),
            ("parity", _format_parity(card["parity"])),
        ]
        if isinstance(card.get("provenance"), dict):
            rows.append(("provenance", _format_provenance(card["provenance"])))
        if isinstance(card.get("engine"), dict):
            rows.append(("engine", _format_engine(card["engine"])))
    else:
        training = dict(card["training"] or {})
        recipe = training.pop("recipe") if isinstance(training.get("recipe"), dict) else {}
        for name, record in (("options", card["options"]), ("recipe", recipe), ("training", training)):
            if record:
                rows.append((name, ", ".join(f"{key} {_format_value(value)}" for key, value in record.items())))
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in card["versions"].items())))
    return [f"{name:<14}{value}" for name, value in rows]


def _note_unnamed(card: Card) -> str:
    return "" if card.get("classes_named", True) else " (numbers: nobody named them; export again with --classes)"


def _describe_reset(card: Card) -> Any:
    nodes = [node.get("attrs", {}) for node in card["graph"]["nodes"]]
    if any(attrs.get("kind") == "Traced" for attrs in nodes):
        return "as the program of each layer says"
    return "soft (subtract v_threshold)" if card["v_reset"] is None else card["v_reset"]


def _format_tau(tau: Any) -> str:
    if tau is None:
        return "infinite"
    if isinstance(tau, list):
        return f"{min(tau):.3g}..{max(tau):.3g}"
    return f"{tau:.4g}"


def _format_value(value: Any) -> str:
    return "none" if value is None else str(value)


def _format_digest(card: Card) -> str:
    """Format a card's digest as text: one SHA-256 of the artifact's contents, and the names of the parts in it."""
    digest = card.get(KEY)
    parts = digest.get("parts") if isinstance(digest, dict) else None
    if not isinstance(parts, dict):
        return "-"
    tensors = sum(part.startswith("tensor ") for part in parts)
    other_parts = [part for part in parts if not part.startswith("tensor ")]
    return f"{read_digest(card)}, of {', '.join(other_parts)}" + f" and {tensors} tensors" * bool(tensors)


def _format_parity(parity: Any) -> str:
    if not isinstance(parity, dict):
        return f"its maker says: {parity}" if parity not in (None, "not run") else "not run"
    verdict = "passed" if parity.get("passed") else "FAILED"
    untested = f", untested: {', '.join(parity['untested'])}" if parity.get("untested") else ""
    rounded = ""
    if "rounding_mismatches" in parity:  # fp16, int8
        part = f" (rounded weights contributed to {parity['rounded_spikes']})" if "rounded_spikes" in parity else ""
        rounded = (
            f"; against the model in fp32: {parity.get('free_running_mismatches')} spikes{part}, "
            f"{parity.get('decisions_changed')} of {parity.get('decisions')} decisions"
        )
    return (
        f"its maker says: {verdict}: {parity.get('spike_mismatches')} of {parity.get('spikes')} spikes differ "
        f"({parity.get('excused')} excused) over {parity.get('steps')} steps{rounded}{untested}"
    )


def _format_provenance(record: dict[str, Any]) -> str:
    """Format the origin of a network as text: accuracy first, then all other keys."""
    facts = dict(record)
    accuracy, interval = facts.pop("accuracy", None), facts.pop("interval", None)
    parts = []
    if isinstance(accuracy, float):
        data_note = "".join(
            f" {word} {facts.pop(key)}" for word, key in (("of", "samples"), ("samples of", "data")) if key in facts
        )
        parts.append(f"accuracy {100 * accuracy:.2f} %{data_note}")
        if isinstance(interval, list) and len(interval) == 2 and all(isinstance(end, float) for end in interval):
            parts[0] += f" (95 % interval {100 * interval[0]:.1f} - {100 * interval[1]:.1f})"
    return "its maker says: " + ", ".join([*parts, *(f"{key} {_format_value(value)}" for key, value in facts.items())])


def _format_engine(record: dict[str, Any]) -> str:
    """Format a card's record of a TensorRT engine file as text: its builder, its GPUs and its kernels."""
    gpu, streams = record.get("gpu"), record.get("streams") or {}
    gpu_note = f" on {gpu['name']}" if isinstance(gpu, dict) and "name" in gpu else ", ahead of time"
    text = f"{record.get('kind')} {record.get('version')}{gpu_note}"
    text += f"; runs on {', '.join(map(str, record.get('compute_capabilities') or []))}"
    text += f"; {streams.get('min')} to {streams.get('max')} streams"
    neurons = record.get("neuron_kernels")
    if isinstance(neurons, dict) and neurons:
        text += (
            f"; {record.get('kernels')} kernels, of them {sum(neurons.values())} for {len(neurons)} layers of neurons"
        )
    return text


def format_columns(rows: Sequence[tuple[str, object]]) -> list[str]:
    """Format rows of (label, text) as aligned lines."""
    most = max(display_width(label) for label, _ in rows)
    return [f"{fit_columns(label, most)}  {text}" for label, text in rows]
