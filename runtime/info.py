"""What `plif info` shows: the card of a file as lines, or the environment."""

from __future__ import annotations

import importlib.metadata
import os
import platform
from typing import Any

from runtime.card import Card
from runtime.terminal import printable
from runtime.version import __version__

PACKAGES = (
    "numpy",
    "onnxruntime",
    "onnxruntime-gpu",
    "torch",
    "onnx",
    "tensorrt",
    "openvino",
    "aedat",
    "dv-processing",
    "neuromorphic-drivers",
    "matplotlib",
)


def card_lines(card: Card) -> list[str]:
    """A card for reading; `--json` has all of it."""
    rows = [
        ("format", f"{card['format']} {card['format_version']}"),
        ("network", card["notation"]),
        ("input", f"{card['input']['kind']} {'x'.join(map(str, card['input']['shape']))}"),
        ("T", card["T"]),
        ("classes", f"{len(card['classes'])}: {', '.join(card['classes'])}"),
        ("framing", card["framing"] or "-"),
    ]
    if card["normalisation"]:
        rows.append(("normalisation", f"mean {card['normalisation']['mean']}, std {card['normalisation']['std']}"))
    if "states" in card:
        rows += [
            ("form", f"{card['form']}, {card['precision']}, {card['math']} math, batch {card['batch'] or 'dynamic'}"),
            ("states", ", ".join(f"{s['name']} {'x'.join(map(str, s['shape']))}" for s in card["states"])),
            ("tau", ", ".join(f"{layer} {_tau(tau)}" for layer, tau in card["taus"].items())),
            ("v_threshold", card["v_threshold"]),
            ("v_reset", "soft (subtract v_threshold)" if card["v_reset"] is None else card["v_reset"]),
            ("output", f"{card['output']['kind']}, {card['output'].get('voters', 1)} voters a class"),
            ("source", f"SHA-256 {card['source_sha256'] or '-'}"),
            ("parity", _parity(card["parity"])),
        ]
    else:
        options = ", ".join(f"{key} {_plain(value)}" for key, value in card["options"].items())
        rows.append(("options", options))
        if card["training"]:
            rows.append(("training", ", ".join(f"{k} {_plain(v)}" for k, v in card["training"].items())))
    rows.append(("versions", ", ".join(f"{name} {version}" for name, version in card["versions"].items())))
    # without control characters: a card may come from anywhere, and its names must not steer a terminal
    return [printable(f"{name:<14}{value}") for name, value in rows]


def _tau(tau: Any) -> str:
    if tau is None:
        return "infinite"
    if isinstance(tau, list):
        return f"{min(tau):.3g}..{max(tau):.3g}"
    return f"{tau:.4g}"


def _plain(value: Any) -> str:
    return "none" if value is None else str(value)


def _parity(parity: Any) -> str:
    if not isinstance(parity, dict):
        return str(parity or "not run")
    verdict = "passed" if parity.get("passed") else "FAILED"
    untested = f", untested: {', '.join(parity['untested'])}" if parity.get("untested") else ""
    return (
        f"{verdict}: {parity.get('spike_mismatches')} of {parity.get('spikes')} spikes differ "
        f"({parity.get('excused')} excused) over {parity.get('steps')} steps{untested}"
    )


def environment() -> dict[str, Any]:
    """Versions, processor and engines of this machine."""
    from runtime.engines import engine_names

    versions: dict[str, str | None] = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "plif": __version__,
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "processors": os.cpu_count(),
        "engines": engine_names(),
        "packages": versions,
    }


def environment_lines(found: dict[str, Any]) -> list[str]:
    lines = [f"{name:<16}{found[name]}" for name in ("plif", "python", "system", "processors")]
    lines.append(f"{'engines':<16}{', '.join(found['engines'])}")
    return lines + [f"{name:<16}{version or 'not installed'}" for name, version in found["packages"].items()]
