"""`plif info`: the card of a model or an artifact, what a recording is and which network it fits, or the environment.

In Python: runtime.core.model.card.read_card, runtime.observers.recording_info.describe.describe.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any

from runtime.core.base.declared import ViewOptions
from runtime.core.base.errors import PlifError
from runtime.core.base.options import Argument
from runtime.core.base.text import column, width
from runtime.core.cli.output import Output
from runtime.core.model.artifacts import suffixes
from runtime.core.model.card import Card, read_card
from runtime.core.model.digest import KEY, digest_of
from runtime.core.observers import HeardOptions, hearing


class InfoOptions(HeardOptions, by="info"):
    """What else is asked."""


def info(
    file: Annotated[
        str | None, Argument("A model.pt, an artifact or a recording; the environment when not given.")
    ] = None,
    *,
    what: InfoOptions,
    view: ViewOptions,
    output: Output,
) -> None:
    """What a model, an artifact or a recording is, or the environment. Needs neither torch nor an engine."""
    asked = [flag for option in (what, view) for flag in option.given()]
    if file is None and asked:
        raise PlifError(f"info {asked[0]}: is about a recording; name one")
    if file is not None and not asked and (card := _card_of(Path(file))) is not None:
        weights, said = grids_of(card)
        output.show({**card, "weights": weights} if weights else card, lambda: [*card_lines(card), *said])
    elif heard := [found for part in hearing("info") for found in part.load("hear")(file, view, **what.of(part))]:
        document, rows, more = heard[0]
        output.show(document, lambda: [*in_columns(rows), *more])
    elif file is None:
        raise PlifError("info: name a model or an artifact; no part here says what this machine has")
    else:
        raise PlifError(f"{file}: is neither a model nor an artifact, and no part here says what a recording is")


def _card_of(file: Path) -> Card | None:
    """The card; None of what neither is nor is called as a model or an artifact."""
    try:
        return read_card(file)
    except PlifError:
        if file.is_dir() or file.suffix in suffixes() | {".pth"}:
            raise
        return None


def grids_of(card: Card) -> tuple[dict[str, str], list[str]]:
    """{layer: "4 bits a channel"} of an artifact's weights of whole numbers, and lines that say it (of a model: `plif check`)."""
    if not any("scale" in node["params"] for node in card.get("graph", {"nodes": []})["nodes"]):
        return {}, []  # and no NumPy is loaded
    from runtime.core.model.grids import named_in, sentences

    found = named_in(card)
    return found, sentences(found, advice=False)


def card_lines(card: Card) -> list[str]:
    """A card for reading; `--json` has all of it."""
    rows = [
        ("format", f"{card['format']} {card['format_version']}"),
        ("network", card["notation"] or "-"),
        ("input", f"{card['input']['kind']} {'x'.join(map(str, card['input']['shape']))}"),
        ("T", card["T"]),
        ("classes", f"{len(card['classes'])}: {', '.join(card['classes'])}{_named(card)}"),
        ("framing", card["framing"] or "-"),
    ]
    if card["normalisation"]:
        rows.append(("normalisation", f"mean {card['normalisation']['mean']}, std {card['normalisation']['std']}"))
    if "states" in card:
        rows += [
            ("form", f"{card['form']}, {card['precision']}, {card['math']} math, batch {card['batch'] or 'dynamic'}"),
            ("states", ", ".join(f"{s['name']} {'x'.join(map(str, s['shape']))}" for s in card["states"])),
            ("tau", ", ".join(f"{layer} {_tau(tau)}" for layer, tau in card["taus"].items()) or "-"),
            ("v_threshold", card["v_threshold"]),
            ("v_reset", _reset(card)),
            ("output", f"{card['output']['kind']}, {card['output'].get('voters', 1)} voters a class"),
            ("source", f"SHA-256 {card['source_sha256'] or '-'}"),
            ("digest", _digest(card)),
            ("parity", _parity(card["parity"])),
        ]
        if isinstance(card.get("provenance"), dict):
            rows.append(("provenance", _provenance(card["provenance"])))
        if isinstance(card.get("engine"), dict):
            rows.append(("engine", _engine(card["engine"])))
    else:
        training = dict(card["training"] or {})
        kept = training.pop("recipe") if isinstance(training.get("recipe"), dict) else {}
        for name, found in (("options", card["options"]), ("recipe", kept), ("training", training)):
            if found:
                rows.append((name, ", ".join(f"{key} {_plain(value)}" for key, value in found.items())))
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in card["versions"].items())))
    return [f"{name:<14}{value}" for name, value in rows]


def _named(card: Card) -> str:
    return "" if card.get("classes_named", True) else " (numbers: nobody named them; export again with --classes)"


def _reset(card: Card) -> Any:
    nodes = [node.get("attrs", {}) for node in card["graph"]["nodes"]]
    if any(attrs.get("kind") == "Traced" for attrs in nodes):
        return "as the program of each layer says"
    return "soft (subtract v_threshold)" if card["v_reset"] is None else card["v_reset"]


def _tau(tau: Any) -> str:
    if tau is None:
        return "infinite"
    if isinstance(tau, list):
        return f"{min(tau):.3g}..{max(tau):.3g}"
    return f"{tau:.4g}"


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)


def _digest(card: Card) -> str:
    """What the digest binds; whether it holds, `runtime.load` and `plif verify` say."""
    found = card.get(KEY)
    parts = found.get("parts") if isinstance(found, dict) else None
    if not isinstance(parts, dict):
        return "-"
    tensors = sum(part.startswith("tensor ") for part in parts)
    rest = [part for part in parts if not part.startswith("tensor ")]
    return f"{digest_of(card)}, of {', '.join(rest)}" + f" and {tensors} tensors" * bool(tensors)


def _parity(parity: Any) -> str:
    if not isinstance(parity, dict):
        return f"its maker says: {parity}" if parity not in (None, "not run") else "not run"
    verdict = "passed" if parity.get("passed") else "FAILED"
    untested = f", untested: {', '.join(parity['untested'])}" if parity.get("untested") else ""
    rounded = ""
    if "rounding_mismatches" in parity:  # fp16, int8
        part = f" (rounded weights had a part in {parity['rounded_spikes']})" if "rounded_spikes" in parity else ""
        rounded = (
            f"; against the model in fp32: {parity.get('free_running_mismatches')} spikes{part}, "
            f"{parity.get('decisions_changed')} of {parity.get('decisions')} decisions"
        )
    return (
        f"its maker says: {verdict}: {parity.get('spike_mismatches')} of {parity.get('spikes')} spikes differ "
        f"({parity.get('excused')} excused) over {parity.get('steps')} steps{rounded}{untested}"
    )


def _provenance(record: dict[str, Any]) -> str:
    """Where the network comes from: accuracy first, as a sentence, then what else is known."""
    known = dict(record)
    accuracy, interval = known.pop("accuracy", None), known.pop("interval", None)
    parts = []
    if isinstance(accuracy, float):
        where = "".join(
            f" {word} {known.pop(key)}" for word, key in (("of", "samples"), ("samples of", "data")) if key in known
        )
        parts.append(f"accuracy {100 * accuracy:.2f} %{where}")
        if isinstance(interval, list) and len(interval) == 2 and all(isinstance(end, float) for end in interval):
            parts[0] += f" (95 % interval {100 * interval[0]:.1f} - {100 * interval[1]:.1f})"
    return "its maker says: " + ", ".join([*parts, *(f"{key} {_plain(value)}" for key, value in known.items())])


def _engine(record: dict[str, Any]) -> str:
    """Of an engine file: what built it, what it runs on, and what it is made of."""
    gpu, streams = record.get("gpu"), record.get("streams") or {}
    where = f" on {gpu['name']}" if isinstance(gpu, dict) and "name" in gpu else ", ahead of time"
    text = f"{record.get('kind')} {record.get('version')}{where}"
    text += f"; runs on {', '.join(map(str, record.get('compute_capabilities') or []))}"
    text += f"; {streams.get('min')} to {streams.get('max')} streams"
    neurons = record.get("neuron_kernels")
    if isinstance(neurons, dict) and neurons:
        text += (
            f"; {record.get('kernels')} kernels, of them {sum(neurons.values())} for {len(neurons)} layers of neurons"
        )
    return text


def in_columns(rows: Sequence[tuple[str, object]]) -> list[str]:
    """Labels and texts, side by side."""
    most = max(width(label) for label, _ in rows)
    return [f"{column(label, most)}  {text}" for label, text in rows]
