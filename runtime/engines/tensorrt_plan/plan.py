"""The checks of an engine file before TensorRT executes its contents.

A plan (TensorRT's word for a built engine) is code: deserialising it runs that code, whoever wrote it, and a plan for
another GPU or another version of TensorRT fails or crashes. So three checks are made, in this order, before TensorRT
reads a byte:

    the file is the one that was exported: its SHA-256 is in the report next to it, or comes from the caller
    the plan is the one that its card describes: length and SHA-256
    the card was written for this version of TensorRT and for this GPU

Each refusal is one line; the last one holds the command that builds the engine here.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict

from runtime.artifacts.tensorrt_plan import file as engine_file
from runtime.core.base.errors import PlifError
from runtime.core.base.files import open_regular, read_regular
from runtime.core.model.card import Card, check_artifact_card, parse_card

NOT_RUN = "not run"  # the card's parity where nothing could run the plan
TENSORRT, RTX = "tensorrt", "tensorrt-rtx"  # the kinds of plans; targets and engines have the same names
_NAMES = {TENSORRT: "TensorRT", RTX: "TensorRT-RTX"}
_MOST_REPORT = 64 << 20  # bytes


class Profile(TypedDict):
    """The numbers of streams that a TensorRT engine file was built for."""

    min: int
    opt: int
    max: int


class EngineRecord(TypedDict):
    """The required keys of the record `engine` in a TensorRT engine file's card; more keys are for people.

    gpu                   {name, compute_capability} of the build; None: built ahead of time
    compute_capabilities  of the GPUs that run it: ["8.9"]; for RTX possibly ["8.0+"]
    rebuild               the command that built it
    """

    kind: str
    version: str
    gpu: dict[str, str] | None
    compute_capabilities: list[str]
    streams: Profile
    plan_bytes: int
    plan_sha256: str
    onnx_sha256: str
    rebuild: str


_KEYS: dict[str, tuple[type, ...]] = {
    "kind": (str,),
    "version": (str,),
    "gpu": (dict, type(None)),
    "compute_capabilities": (list,),
    "streams": (dict,),
    "plan_bytes": (int,),
    "plan_sha256": (str,),
    "onnx_sha256": (str,),
    "rebuild": (str,),
}


@dataclass(frozen=True)
class Plan:
    """The contents of a TensorRT engine file, which may be deserialised once `require_machine` has passed."""

    path: Path
    card: Card
    data: bytes

    @property
    def record(self) -> EngineRecord:
        record: EngineRecord = self.card["engine"]
        return record

    def require_machine(self, version: str, gpu: str, compute_capability: str) -> None:
        """Refuse a TensorRT plan that was built for another version of TensorRT or for another GPU than these."""
        record, name = self.record, _NAMES[self.record["kind"]]
        if record["version"] != version:
            raise self._refusal(f"with {name} {record['version']}, and here is {name} {version}")
        built_on = record["gpu"]
        if built_on is not None and (built_on["name"], built_on["compute_capability"]) != (gpu, compute_capability):
            machine = f"on {built_on['name']} (compute capability {built_on['compute_capability']})"
            raise self._refusal(f"{machine}, and here is {gpu} ({compute_capability})")
        if not any(_is_covered(target, compute_capability) for target in record["compute_capabilities"]):
            targets = ", ".join(record["compute_capabilities"])
            raise self._refusal(f"for compute capability {targets}, and here is {gpu} ({compute_capability})")

    def require_rows(self, rows: int) -> None:
        """Refuse a number of rows (streams of a session) that the TensorRT engine was not built for."""
        least, most = self.record["streams"]["min"], self.record["streams"]["max"]
        if not least <= rows <= most:
            raise PlifError(
                f"{self.path}: built for {least} to {most} streams, not {rows}; build it for more with: "
                f"{self.record['rebuild']} --set streams={least}+{least}+{rows}"
            )

    def _refusal(self, why: str) -> PlifError:
        return PlifError(f"{self.path}: was built {why}; build it here: {self.record['rebuild']}")


def _is_covered(target: str, compute_capability: str) -> bool:
    """Return whether a TensorRT plan for `target` runs on a GPU: "8.9" on that one, "8.0+" also on later ones."""
    if not target.endswith("+"):
        return target == compute_capability
    return _version_numbers(target[:-1]) <= _version_numbers(compute_capability)


def _version_numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def open_plan(path: Path, kind: str, sha256: str | None = None) -> Plan:
    """Read a TensorRT engine file once, and make all checks that need no GPU.

    sha256  the expected SHA-256 of the file; taken from the report next to it when None
    Raise PlifError with one line for a file that is not the one that was exported.
    """
    data = read_regular(path, f"an engine file made by: plif export model.pt --to {kind}")
    if not engine_file.is_engine(data[:8]):
        raise PlifError(f"{path}: is not an engine file; expected one made by: plif export model.pt --to {kind}")
    expected, whence = (
        (sha256.lower(), "--sha256") if sha256 else (_read_report_sha256(path), f"{path.name}.report.json")
    )
    sha256_found = hashlib.sha256(data).hexdigest()
    if sha256_found != expected:
        raise PlifError(
            f"{path}: SHA-256 is {sha256_found}; {whence} says {expected}. It is not the file that was written"
        )
    text, plan = engine_file.split_engine(path, data)
    card = parse_card(path, text)
    check_artifact_card(card, str(path))
    record = _read_record(path, card)
    if record["kind"] != kind:
        raise PlifError(f"{path}: is a plan of {_NAMES[record['kind']]}; open it with --engine {record['kind']}")
    if len(plan) != record["plan_bytes"] or hashlib.sha256(plan).hexdigest() != record["plan_sha256"]:
        raise PlifError(
            f"{path}: its plan is not the one that its card describes; the file was damaged, or put together from others"
        )
    return Plan(path, card, bytes(plan))


def _read_report_sha256(path: Path) -> str:
    """Read the SHA-256 of a TensorRT engine file from the export's report next to it."""
    report = path.with_name(path.name + ".report.json")
    requirement = (
        f"an engine is code, so {path.name} is opened only by its SHA-256: give --sha256, or keep its report beside it"
    )
    try:
        with open_regular(report, f"the report of the export; {requirement}") as file:
            text = file.read(_MOST_REPORT + 1)
        sha256 = json.loads(text if len(text) <= _MOST_REPORT else b"")["sha256"]
        if not isinstance(sha256, str):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PlifError(f"{report}: is not a report of an export; {requirement}") from None
    return sha256


def _read_record(path: Path, card: Card) -> EngineRecord:
    """Read and check the record `engine` in a TensorRT engine file's card: keys used later have the right types."""
    wrong = f"{path}: the engine's record in its card"
    if not isinstance(card.get("engine"), dict):
        raise PlifError(f"{wrong} is missing; it was damaged or not written by plif")
    record: dict[str, Any] = card["engine"]
    for key, kinds in _KEYS.items():
        value = record.get(key)
        if key not in record or not isinstance(value, kinds) or isinstance(value, bool):
            raise PlifError(f"{wrong} lacks a usable {key}; it was damaged or not written by plif")
    gpu, streams = record["gpu"], record["streams"]
    usable = {
        "kind": record["kind"] in _NAMES,
        "gpu": gpu is None or all(isinstance(gpu.get(key), str) for key in ("name", "compute_capability")),
        "compute_capabilities": all(isinstance(target, str) for target in record["compute_capabilities"]),
        "streams": all(type(streams.get(key)) is int for key in ("min", "opt", "max")),
    }
    for key, holds in usable.items():
        if not holds:
            raise PlifError(f"{wrong} has {key} {record[key]!r}; it was damaged or not written by plif")
    checked: EngineRecord = card["engine"]
    return checked
