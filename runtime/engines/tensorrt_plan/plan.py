"""What is checked before an engine file is given to TensorRT, which executes what the file holds.

A plan (TensorRT's word for a built engine) is code: deserialising it runs that code, whoever wrote it, and a plan for
another GPU or another version of TensorRT fails or crashes. So three things are checked, in this order, before TensorRT
reads a byte:

    the file is the one that was exported: its SHA-256 stands in the report beside it, or was given by the caller
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
    """For how many streams an engine was built."""

    min: int
    opt: int
    max: int


class EngineRecord(TypedDict):
    """What the record `engine` of an engine file's card must hold. The builder adds more, for people to read.

    gpu                   {name, compute_capability} of where it was built; None: built ahead of time
    compute_capabilities  what it runs on: ["8.9"]; for RTX possibly ["8.0+"]
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
    """An engine file that may be deserialised once `require_machine` has passed."""

    path: Path
    card: Card
    data: bytes

    @property
    def record(self) -> EngineRecord:
        record: EngineRecord = self.card["engine"]
        return record

    def require_machine(self, version: str, gpu: str, compute_capability: str) -> None:
        """Refuses a plan that was built for another version of TensorRT or for another GPU than these."""
        record, name = self.record, _NAMES[self.record["kind"]]
        if record["version"] != version:
            raise self._refusal(f"with {name} {record['version']}, and here is {name} {version}")
        built_on = record["gpu"]
        if built_on is not None and (built_on["name"], built_on["compute_capability"]) != (gpu, compute_capability):
            where = f"on {built_on['name']} (compute capability {built_on['compute_capability']})"
            raise self._refusal(f"{where}, and here is {gpu} ({compute_capability})")
        if not any(_covers(target, compute_capability) for target in record["compute_capabilities"]):
            targets = ", ".join(record["compute_capabilities"])
            raise self._refusal(f"for compute capability {targets}, and here is {gpu} ({compute_capability})")

    def require_rows(self, rows: int) -> None:
        """Refuses a number of rows (streams of a session) that the engine was not built for."""
        least, most = self.record["streams"]["min"], self.record["streams"]["max"]
        if not least <= rows <= most:
            raise PlifError(
                f"{self.path}: built for {least} to {most} streams, not {rows}; build it for more with: "
                f"{self.record['rebuild']} --set streams={least}+{least}+{rows}"
            )

    def _refusal(self, why: str) -> PlifError:
        return PlifError(f"{self.path}: was built {why}; build it here: {self.record['rebuild']}")


def _covers(target: str, compute_capability: str) -> bool:
    """Whether a plan for `target` runs on a GPU: "8.9" on that one, "8.0+" on it and all later ones."""
    if not target.endswith("+"):
        return target == compute_capability
    return _numbers(target[:-1]) <= _numbers(compute_capability)


def _numbers(version: str) -> tuple[int, ...]:
    return tuple(int(part) for part in version.split(".") if part.isdigit())


def open_plan(path: Path, kind: str, sha256: str | None = None) -> Plan:
    """Reads an engine file once, and makes all checks that need no GPU.

    sha256  the expected SHA-256 of the file; taken from the report beside it when None
    Raises PlifError with one line for a file that is not the one that was exported.
    """
    data = read_regular(path, f"an engine file made by: plif export model.pt --to {kind}")
    if not engine_file.is_engine(data[:8]):
        raise PlifError(f"{path}: is not an engine file; expected one made by: plif export model.pt --to {kind}")
    expected, whence = (sha256.lower(), "--sha256") if sha256 else (_sha256_of_report(path), f"{path.name}.report.json")
    found = hashlib.sha256(data).hexdigest()
    if found != expected:
        raise PlifError(f"{path}: SHA-256 is {found}; {whence} says {expected}. It is not the file that was written")
    text, plan = engine_file.split(path, data)
    card = parse_card(path, text)
    check_artifact_card(card, str(path))
    record = _record(path, card)
    if record["kind"] != kind:
        raise PlifError(f"{path}: is a plan of {_NAMES[record['kind']]}; open it with --engine {record['kind']}")
    if len(plan) != record["plan_bytes"] or hashlib.sha256(plan).hexdigest() != record["plan_sha256"]:
        raise PlifError(
            f"{path}: its plan is not the one that its card describes; the file was damaged, or put together from others"
        )
    return Plan(path, card, bytes(plan))


def _sha256_of_report(path: Path) -> str:
    """The SHA-256 in the report of the export, which lies beside the file."""
    report = path.with_name(path.name + ".report.json")
    asked = (
        f"an engine is code, so {path.name} is opened only by its SHA-256: give --sha256, or keep its report beside it"
    )
    try:
        with open_regular(report, f"the report of the export; {asked}") as file:
            text = file.read(_MOST_REPORT + 1)
        sha256 = json.loads(text if len(text) <= _MOST_REPORT else b"")["sha256"]
        if not isinstance(sha256, str):
            raise TypeError
    except (ValueError, KeyError, TypeError, RecursionError):
        raise PlifError(f"{report}: is not a report of an export; {asked}") from None
    return sha256


def _record(path: Path, card: Card) -> EngineRecord:
    """The card's record of the engine, checked: all keys that are used later are there and of the right type."""
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
    found: EngineRecord = card["engine"]
    return found
