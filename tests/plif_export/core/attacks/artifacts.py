"""Changed artifacts: what an attack is, fresh artifacts to change, the digest made again, and what `plif verify` says."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import h5py
import onnx
import torch
from torch import nn

import plif_export
import plif_train
from runtime.artifacts.c import source as c_source
from runtime.artifacts.plif_file import file as plif_file
from runtime.artifacts.plif_file.program import hash_contents
from runtime.artifacts.tensorrt_plan import file as engine_file
from runtime.core.base.errors import PlifError
from runtime.core.model.artifacts import CARD_FILE, CARD_KEY, detect_kind
from runtime.core.model.card import Card, encode_card, read_card
from runtime.core.model.digest import write_digest
from runtime.core.model.readers.contents import Contents
from tests.networks import scaled

DIGITS = Path(__file__).parents[4] / "models" / "nmnist-digits.pt"
SMALL = "{c4k3s1-BN-PLIF-MPk2s2}*2-DP-FC12-PLIF-DP-FC20-PLIF-APk10s10"
IN = 6  # numbers of an input of the live module
FOR_NIR = SMALL.replace("MP", "AP")  # NIR has no max-pooling

# What should happen. refused: exit code 1 or 2. named: that, or it passes and `structure` or `not_proved` says it.
# listed: it passes, and is in `structure`. passes: it passes.
EXPECTED = ("refused", "named", "listed", "passes")


@dataclass(frozen=True)
class Attack:
    """A change of a fresh artifact: change(its path) -> the path of the changed one, which may be the same.

    target    how it is exported: a key of OPTIONS, or plif, c, openvino, triton, tensorrt-rtx
    expected  one of EXPECTED;  why: half a sentence, of what it would do
    """

    name: str
    target: str
    expected: str
    change: Callable[[Path], Path]
    why: str = ""


@dataclass
class Finding:
    """What was found. verdict: "right", "PASSED FALSELY", "TOO STRICT", "CRASHED" or "not run"; effect: measured, in words."""

    name: str
    expected: str
    found: str
    message: str
    verdict: str
    effect: str = ""
    kind: str = "artifact"


ATTACKS: dict[str, Attack] = {}


def attack(target: str = "onnx", expected: str = "refused", name: str = "") -> Callable[[Any], Any]:
    """Enters a function (path) -> path or None (the same path); its docstring says what it would do."""

    def enter(change: Callable[[Path], Path | None]) -> Callable[[Path], Path | None]:
        called = name or change.__name__
        assert called not in ATTACKS and expected in EXPECTED, called
        ATTACKS[called] = Attack(called, target, expected, lambda path: change(path) or path, change.__doc__ or "")
        return change

    return enter


def import_all(folder: str) -> None:
    """Every file of a folder beside this one, each of which enters its attacks."""
    for file in sorted((Path(__file__).parent / folder).glob("[a-z]*.py")):
        import_module(f"tests.plif_export.core.attacks.{folder}.{file.stem}")


def all_attacks() -> list[Attack]:
    import_all("changed")
    return list(ATTACKS.values())


# --- fresh artifacts ------------------------------------------------------------------------------------------------------

_NAMES = {"plif": "net.plif", "c": "net.c", "nir": "net.nir", "openvino": "net_openvino", "triton": "net_triton"}
_NAMES |= {"tensorrt-rtx": "net.rtx.engine"}
OPTIONS: dict[str, dict[str, Any]] = {  # of the export; a target that is not here is that of its name
    "onnx": {},
    "unrolled": {"form": "unrolled"},
    "unrolled, T 3": {"form": "unrolled", "T": 3},
    "int8": {"precision": "int8"},
    "fp16": {"precision": "fp16"},
    "exact": {"math": "exact"},
    "batch 4": {"batch": 4},
    "metadata": {"metadata": {"author": "me"}},
    "seed 7": {"seed": 7},
    "not verified": {"verify": False},
    "nir": {"to": "nir", "options": {"votes": "fold"}},
    "nir, dt": {"to": "nir", "options": {"votes": "fold", "dt": "1e-3"}},
    "plif, int8": {"to": "plif", "precision": "int8"},
    "openvino, fp16": {"to": "openvino", "precision": "fp16"},
    "live": {},
}


@dataclass
class Subject:
    """A model and its fresh artifacts, each exported once into `folder`.

    model  the model.pt;  for_nir: one that NIR can hold
    """

    folder: Path
    model: Path
    for_nir: Path
    fresh: dict[str, tuple[Path, plif_export.Report | PlifError]] = field(default_factory=dict)

    @staticmethod
    def of(folder: Path, model: Path | None = None) -> Subject:
        """model: None for a small random network."""
        folder.mkdir(parents=True, exist_ok=True)
        nir = _saved(folder / "for_nir.pt", FOR_NIR)
        return Subject(folder, model or _saved(folder / "net.pt", SMALL), nir)

    def source(self, target: str) -> Any:
        if target == "live":
            return live_module()
        return self.for_nir if target.startswith("nir") else self.model

    def artifact(self, target: str) -> tuple[Path, plif_export.Report | PlifError]:
        """(the fresh artifact, what verify says of it)."""
        if target not in self.fresh:
            options = OPTIONS.get(target, {"to": target})
            path = self.folder / target / _NAMES.get(options.get("to", ""), "net.onnx")
            path.parent.mkdir()
            example = torch.zeros(1, IN) if target == "live" else None
            plif_export.export(self.source(target), path, example, **options)
            self.fresh[target] = path, self.verify(path, target)
        return self.fresh[target]

    def verify(self, path: Path, target: str) -> plif_export.Report | PlifError:
        try:
            return plif_export.verify(path, self.source(target))
        except PlifError as error:
            return error

    def try_one(self, one: Attack) -> Finding:
        """Changes a copy, and verifies it."""
        path, fresh = self.artifact(one.target)
        if isinstance(fresh, PlifError) or not fresh.passed:
            said = str(fresh) if isinstance(fresh, PlifError) else "failed"
            verdict = "TOO STRICT" if one.name.startswith("fresh_") else "not run"
            return Finding(one.name, one.expected, "not run", f"of a fresh artifact: {said}", verdict)
        place = self.folder / "changed" / one.name.replace("/", "_").replace(" ", "_")
        shutil.copytree(path.parent, place, symlinks=True)
        changed = one.change(place / path.name)
        try:
            report = self.verify(changed, one.target)
        except Exception as error:  # whatever is no PlifError is a crash, which no user should see
            return Finding(one.name, one.expected, "crashed", f"{type(error).__name__}: {error}", "CRASHED")
        found, message = judged(report, fresh)
        right = {
            "refused": found == "refused",
            "named": found in ("refused", "named", "listed"),
            "listed": found == "listed",
            "passes": found in ("passes", "listed", "named"),
        }[one.expected]
        wrong = "TOO STRICT" if one.expected in ("listed", "passes") and found == "refused" else "PASSED FALSELY"
        finding = Finding(one.name, one.expected, found, message, "right" if right else wrong)
        if finding.verdict == "PASSED FALSELY" and one.target in ("onnx", "live"):
            from tests.plif_export.core.attacks.effect import difference

            finding.effect = difference(path, changed)
        return finding


def judged(report: plif_export.Report | PlifError, fresh: plif_export.Report) -> tuple[str, str]:
    """(refused, listed, named or passes; what is said)."""
    if isinstance(report, PlifError):
        return "refused", str(report)
    structure = list(getattr(report, "structure", ()))
    new = [text for text in report.not_proved if text not in fresh.not_proved]
    said = f"structure: {structure[0]}" if structure else f"not proved: {new[0]}" if new else ""
    if not report.passed:
        return "refused", said or str(report.failed_at) or report.sentence()
    if structure or new:
        return "listed" if structure else "named", said
    standing = next((text for text in report.not_proved if "structure" in text or "made from" in text), "")
    return ("named", f"not proved, of a fresh one too: {standing}") if standing else ("passes", report.sentence())


def live_module() -> Any:
    """Two layers of neurons of SpikingJelly, always the same."""
    from spikingjelly.activation_based import neuron

    torch.manual_seed(2)
    net = nn.Sequential(nn.Linear(IN, 16), neuron.ParametricLIFNode(), nn.Linear(16, 4), neuron.ParametricLIFNode())
    with torch.no_grad():
        net[0].weight.abs_().mul_(2)
        net[2].weight.abs_()
    return net.eval()


@cache
def _network(notation: str) -> Any:
    options = {"T": 4, "shape": (2, 10, 10), "classes": ("a", "b"), "framing": "count:T=4"}
    return scaled(plif_train.build(notation, **options), 3)


def _saved(path: Path, notation: str) -> Path:
    plif_train.save(_network(notation), path)
    return path


# --- the digest, as anybody can make it -----------------------------------------------------------------------------------


def reseal(path: Path, change: Callable[[Card], object] = lambda card: None) -> None:
    """Changes the card of an artifact, and makes the digest again for all that the artifact holds now."""
    write = {
        "onnx": _onnx,
        "plif": _plif,
        "c": _c,
        "nir": _nir,
        "openvino": _folder,
        "triton": _folder,
        "tensorrt-rtx": _engine,
    }[detect_kind(path).name]
    card = read_card(path)
    change(card)
    write(path, card)


def sealed(path: Path, card: Card) -> str:
    """The card's text with the digest of what lies beside it now; where that cannot be read, the digest as it was."""
    with contextlib.suppress(PlifError):
        write_digest(card, detect_kind(path).read_contents(path))
    return encode_card(card)


def _onnx(path: Path, card: Card) -> None:
    text = sealed(path, card)
    proto = onnx.load(path, load_external_data=False)
    for entry in proto.metadata_props:
        if entry.key == CARD_KEY:
            entry.value = text
    path.write_bytes(proto.SerializeToString())


def _folder(path: Path, card: Card) -> None:
    (path / CARD_FILE).write_text(sealed(path, card), "utf-8")


def _c(path: Path, card: Card) -> None:
    text = sealed(path, card)
    code = c_source.read_text(path).rpartition(f"\n{c_source.BEGIN}")[0]
    path.write_text(code + c_source.card_comment(text, card["digest"]["sha256"]), "utf-8")


def _nir(path: Path, card: Card) -> None:
    text = sealed(path, card)
    with h5py.File(path, "r+") as file:
        metadata = file["node/metadata"]
        del metadata[CARD_KEY]
        metadata.create_dataset(CARD_KEY, data=text)


def _engine(path: Path, card: Card) -> None:
    write_digest(card, Contents())
    path.write_bytes(
        engine_file.pack_engine(encode_card(card), bytes(engine_file.split_engine(path, path.read_bytes())[1]))
    )


def _plif(path: Path, card: Card) -> None:
    write_plif(path, *plif_file.split_file(path, path.read_bytes()), card)


def write_plif(path: Path, sections: dict[str, bytes], facts: tuple[int, ...], card: Card | None = None) -> None:
    """A .plif file of other sections, with a digest and a SHA-256 that fit."""
    card = card or read_card(path)
    rest = {name: section for name, section in sections.items() if name != "card"}
    write_digest(card, hash_contents(path, rest, facts))
    path.write_bytes(plif_file.pack_file(encode_card(card), rest, facts))
