"""Makes docs/targets.md: for each source library and each target, what passes the gate on this machine.

    python docs/targets_table.py            writes docs/targets.md
    python docs/targets_table.py --json     prints it, every combination with its result
    python docs/targets_table.py --check c  tries one target, and exits with 1 where its column of the page says something else

Targets and precisions come from the registries, so a new one appears by itself. A combination that is refused shows why; a
library that is not installed is named and left out.
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tempfile
import warnings
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from plif_export import export  # noqa: E402
from plif_export.core.passes import PRECISIONS  # noqa: E402
from plif_export.core.targets import find_target, list_targets  # noqa: E402
from plif_export.core.writers import FORMS  # noqa: E402
from runtime.core.base.errors import PlifError  # noqa: E402
from tests.foreign import Residual, scale_to_threshold  # noqa: E402
from tests.networks import firing  # noqa: E402

SETTINGS: dict[str, dict[str, str]] = {"nir": {"votes": "fold"}}
Source = tuple[Any, dict[str, Any]]  # the model, and the options of its export


@dataclass(frozen=True)
class Trial:
    """One export that was tried."""

    source: str
    target: str
    form: str
    precision: str
    passed: bool
    said: str  # why not; for what passed: the engine that ran it, or that it was written and not run


def plif_train(folder: Path) -> Source:
    return firing("{c8k3s1-BN-PLIF-MPk2s2}*2-DP-FC40-PLIF-DP-FC30-PLIF-APk10s10"), {}


def plif_train_average(folder: Path) -> Source:
    return firing("{c8k3s1-BN-PLIF-APk2s2}*2-DP-FC40-PLIF-DP-FC30-PLIF-APk10s10", tau="channel"), {}


def plif_train_images(folder: Path) -> Source:
    return firing(kind="static", framing=None, shape=(3, 16, 16)), {}


def spikingjelly_module(folder: Path) -> Source:
    from spikingjelly.activation_based import layer, neuron

    net = nn.Sequential(
        *(layer.Conv2d(2, 6, 3, padding=1, bias=False), layer.BatchNorm2d(6), neuron.ParametricLIFNode()),
        *(layer.AvgPool2d(2), layer.Flatten(), layer.Linear(96, 10), neuron.LIFNode(tau=3.0)),
    )
    return scale_to_threshold(net, (2, 8, 8)), {"example_input": torch.zeros(1, 2, 8, 8)}


def spikingjelly_residual(folder: Path) -> Source:
    return scale_to_threshold(Residual(), (2, 8, 8), gain=1.5), {"example_input": torch.zeros(1, 2, 8, 8)}


def spikingjelly_state_dict(folder: Path) -> Source:
    from spikingjelly.activation_based import layer, neuron

    net = nn.Sequential(
        *(layer.Conv2d(2, 6, 3, padding=1), neuron.IFNode(), layer.MaxPool2d(2)),
        *(layer.Flatten(), layer.Linear(96, 10), neuron.IFNode()),
    )
    torch.save(scale_to_threshold(net, (2, 8, 8)).state_dict(), folder / "net.pth")
    return folder / "net.pth", {"network": "c6k3s1-IF-MPk2s2-FC10-IF", "shape": (2, 8, 8)}


def snntorch_leaky(folder: Path) -> Source:
    import snntorch as snn

    net = nn.Sequential(
        nn.Linear(12, 30),
        snn.Leaky(beta=0.9, init_hidden=True),
        nn.Linear(30, 4),
        snn.Leaky(beta=0.8, init_hidden=True),
    )
    return scale_to_threshold(net, (12,)), {"example_input": torch.zeros(1, 12)}


def norse_lif_box(folder: Path) -> Source:
    import norse.torch as norse

    net = norse.SequentialState(nn.Linear(12, 30), norse.LIFBoxCell(), nn.Linear(30, 4), norse.LIFBoxCell())
    return scale_to_threshold(net, (12,), gain=20.0), {"example_input": torch.zeros(1, 12)}


def norse_lif(folder: Path) -> Source:
    import norse.torch as norse

    net = norse.SequentialState(nn.Linear(12, 30), norse.LIFCell(), nn.Linear(30, 4), norse.LIFCell())
    return scale_to_threshold(net, (12,), gain=5.0), {"example_input": torch.zeros(1, 12)}


def nir_file(folder: Path) -> Source:
    import nir

    rng, full = np.random.default_rng(0), np.ones(5)
    nodes = {
        "input": nir.Input(input_type={"input": np.array([2, 8, 8])}),
        "conv": nir.Conv2d((8, 8), rng.normal(0, 0.6, (4, 2, 3, 3)), 1, 1, 1, 1, rng.normal(0, 0.1, 4)),
        "if": nir.IF(np.full((4, 8, 8), 1e4), np.ones((4, 8, 8))),
        "flat": nir.Flatten({"input": np.array([4, 8, 8])}, 0, -1),
        "fc": nir.Affine(rng.normal(0, 0.2, (5, 256)), rng.normal(0, 0.1, 5)),
        "lif": nir.LIF(np.linspace(2e-4, 9e-4, 5), full, 0 * full, full, 0 * full),
        "output": nir.Output(output_type={"output": np.array([5])}),
    }
    names = list(nodes)
    nir.write(folder / "net.nir", nir.NIRGraph(nodes, list(pairwise(names)), type_check=False))
    return folder / "net.nir", {}


def nir_loop(folder: Path) -> Source:
    """Spikes that come back, a delay, and a readout that gives its membrane."""
    import nir

    rng, full = np.random.default_rng(0), np.ones(6)
    nodes = {
        "input": nir.Input(input_type={"input": np.array([8])}),
        "fc": nir.Affine(rng.normal(0.3, 0.5, (6, 8)), 0 * full),
        "cuba": nir.CubaLIF(2e-4 * full, 4e-4 * full, 2 * full, 0 * full, full, 0 * full, 2 * full),
        "late": nir.Delay(2e-4 * full),
        "head": nir.Linear(rng.normal(0, 0.5, (3, 6))),
        "readout": nir.LI(np.full(3, 5e-4), np.ones(3), np.zeros(3)),
        "output": nir.Output(output_type={"output": np.array([3])}),
    }
    edges = [*pairwise(nodes), ("cuba", "back"), ("back", "cuba")]
    nodes["back"] = nir.Linear(rng.normal(-0.2, 0.4, (6, 6)))
    nir.write(folder / "net.nir", nir.NIRGraph(nodes, edges, type_check=False))
    return folder / "net.nir", {}


def sinabs_file(folder: Path) -> Source:
    return ROOT / "tests" / "data" / "sinabs.nir", {"neuron": {"dt": 1.0, "fire": ">=", "reset": "subtract"}}


SOURCES: dict[str, Callable[[Path], Source]] = {
    "plif (max-pooling, votes)": plif_train,
    "plif (average pooling, votes)": plif_train_average,
    "plif (still images)": plif_train_images,
    "SpikingJelly module": spikingjelly_module,
    "SpikingJelly residual module": spikingjelly_residual,
    "SpikingJelly state_dict": spikingjelly_state_dict,
    "snnTorch Leaky": snntorch_leaky,
    "Norse LIFBoxCell": norse_lif_box,
    "Norse LIFCell": norse_lif,
    "NIR file": nir_file,
    "NIR file (recurrent, readout)": nir_loop,
    "NIR file of sinabs": sinabs_file,
}


def tried(source: str, target: str, form: str, precision: str, folder: Path, given: Source) -> Trial:
    """One export, for real."""
    model, more = given
    path = folder / f"m{find_target(target).suffix}"
    try:
        made = export(model, path, to=target, form=form, precision=precision, options=SETTINGS.get(target), **more)
    except PlifError as error:
        return Trial(source, target, form, precision, False, str(error).replace(f"{folder}/", ""))
    ran = made.verify.engine if made.verify is not None else None
    return Trial(source, target, form, precision, made.passed, made.not_run or (f"run by {ran}" if ran else ""))


def everything(
    say: Callable[[str], None], targets: Sequence[str] = tuple(list_targets())
) -> tuple[list[Trial], list[str]]:
    """Every combination of the targets, and which sources could not be tried."""
    found, missing = [], []
    for source, make in SOURCES.items():
        say(source)
        with tempfile.TemporaryDirectory() as name:
            torch.manual_seed(0)
            try:
                given = make(Path(name))
            except ImportError as error:
                missing.append(f"{source}: {error.name} is not installed")
                continue
            for target in targets:
                for form in FORMS:
                    for precision in PRECISIONS:
                        found.append(tried(source, target, form, precision, Path(name), given))
    return found, missing


def page(found: list[Trial], missing: list[str]) -> str:
    notes: dict[str, int] = {}
    sources = list(dict.fromkeys(one.source for one in found))
    lines = [
        "# Targets: which library exports to which target",
        "",
        "Read this if you want to know whether your network can be exported to your target. Each cell lists the",
        "precisions that pass the gate in the step form; `+T`: the unrolled form passes, too; `+loop`: the loop form.",
        "Numbers refer to the notes below, which explain what is not supported. *Italic*: proved as ONNX, but not run:",
        "the engine needs a GPU. `python docs/targets_table.py` writes this page from a small network of each kind.",
        "",
        f"| from | {' | '.join(f'`--to {target}`' for target in list_targets())} |",
        f"|---|{'---|' * len(list_targets())}",
    ]
    for source in sources:
        cells = [
            _cell([one for one in found if (one.source, one.target) == (source, target)], notes)
            for target in list_targets()
        ]
        lines.append(f"| {source} | {' | '.join(cells)} |")
    lines += ["", *(f"{number}. {note}" for note, number in notes.items())]
    settings = "; ".join(f"`--to {t} --set {','.join(f'{k}={v}' for k, v in s.items())}`" for t, s in SETTINGS.items())
    lines += [
        "",
        f"Exported with: {settings}. PyTorch {torch.__version__.split('+')[0]}.",
        *(f"Not tried: {m}." for m in missing),
    ]
    return "\n".join(lines) + "\n"


def _cell(here: list[Trial], notes: dict[str, int]) -> str:
    def shown(one: Trial) -> str:
        return f"*{one.precision}*" if one.said and not one.said.startswith("run by") else one.precision

    step = {one.precision: one for one in here if one.form == "step" and one.passed}
    text = " ".join(shown(one) for one in step.values())
    for form, mark in (("unrolled", "+T"), ("loop", "+loop")):
        if passed := {one.precision for one in here if one.form == form and one.passed}:
            text += f" {mark}" if passed == set(step) else f" {mark} ({' '.join(sorted(passed))})"
    refused = dict.fromkeys(_plain(one.said) for one in here if not one.passed)
    numbers = sorted(notes.setdefault(reason, len(notes) + 1) for reason in refused)
    return " ".join([text, ", ".join(f"[{number}]" for number in numbers)]).strip() or "-"


def _plain(reason: str) -> str:
    """Return a refusal without the other layers that it holds for, and without the form that was requested."""
    return re.sub(r"^--form \w+: | \(\d+ more: [^)]*\)", "", reason)


def column(text: str, target: str) -> dict[str, tuple[str, list[str]]]:
    """{source: (what passed, why the rest was refused)} of one target in a page."""
    lines = text.splitlines()
    notes = dict(line.split(". ", 1) for line in lines if re.match(r"\d+\. ", line))
    header, _, *rows = ([cell.strip() for cell in line.split("|")[1:-1]] for line in lines if line.startswith("|"))
    at = header.index(f"`--to {target}`")
    return {
        row[0]: (re.sub(r"[\s,]*\[\d+\]", "", row[at]), [notes[n] for n in re.findall(r"\[(\d+)\]", row[at])])
        for row in rows
    }


def check(target: str) -> bool:
    """Whether the page says of a target what its exports do; prints what differs."""
    found = column(page(*everything(lambda source: print(source, file=sys.stderr), (target,))), target)
    said = column((ROOT / "docs" / "targets.md").read_text("utf-8"), target)
    for source in found:
        if found[source] != said.get(source):
            print(f"{source}: the page says {said.get(source)}; found {found[source]}")
    return found == {source: said.get(source) for source in found}


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--check", metavar="TARGET", choices=tuple(list_targets()))
    options = parser.parse_args()
    warnings.simplefilter("ignore")
    if options.check:
        sys.exit(0 if check(options.check) else 1)
    found, missing = everything(lambda source: print(source, file=sys.stderr))
    if options.json:
        print(json.dumps({"tried": [asdict(one) for one in found], "missing": missing}))
        return
    (ROOT / "docs" / "targets.md").write_text(page(found, missing), "utf-8")


if __name__ == "__main__":
    main()
