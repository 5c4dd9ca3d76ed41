"""Make docs/schemas/*.json, JSON schemas of the output of commands, from the records in code.

    python docs/schemas.py

Keys and types come from dataclasses and TypedDicts, descriptions from their docstrings, in which a line `name   what it is`
is of a key. tests/docs/test_schemas.py compares them with what commands print, both ways.
"""

from __future__ import annotations

import inspect
import json
import re
import sys
from dataclasses import fields, is_dataclass
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Literal, get_args, get_origin, get_type_hints, is_typeddict

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from plif_export.core.proof.report import Evidence, Report  # noqa: E402
from runtime.core.events.lines import DecisionLine, SummaryLine  # noqa: E402
from runtime.core.measure.evaluate.evaluation import Evaluation  # noqa: E402
from runtime.core.measure.results import Predicted, TimedPredictionRow  # noqa: E402
from runtime.core.model.records import ArtifactCard, ModelCard  # noqa: E402

FOLDER = ROOT / "docs" / "schemas"
SIMPLE = {str: "string", int: "integer", float: "number", bool: "boolean", NoneType: "null"}
COLUMN = re.compile(r"^(\w+(?:, \w+)*)  +(\S.*(?:\n {2,}\S.*)*)", re.MULTILINE)
ALSO = re.compile(r"; +(?=\w+(?:, \w+)*: )")  # name   what it is;  other: what that is

Schema = dict[str, Any]


def schemas() -> dict[str, Schema]:
    """Return {name of the file: schema}."""
    return {
        "eval": _of(
            "plif eval --json",
            Evaluation,
            {"stress": list[dict[str, object]]},
            ("stress",),
            left_out=("truths", "traces"),
        ),
        "predict": _of("plif predict --json", Predicted, {"predictions": list[TimedPredictionRow]}),
        "verify": _of("plif verify --json", Report, {"shown": list[Evidence]}),
        "stream": _either("A line of plif stream --json", DecisionLine, SummaryLine),
        "card": _either("plif info FILE --json", ModelCard, ArtifactCard),
    }


def _of(
    title: str, record: type, more: Schema, optional: tuple[str, ...] = (), left_out: tuple[str, ...] = ()
) -> Schema:
    """Of a result: its record, and what `to_dict` adds to it, {key: annotation}, or leaves out."""
    defs: dict[str, Schema] = {}
    return _document(title, _record(record, defs, more, optional, left_out), defs)


def _either(title: str, *records: type) -> Schema:
    defs: dict[str, Schema] = {}
    return _document(title, {"oneOf": [_schema(record, defs) for record in records]}, defs)


def _document(title: str, of: Schema, defs: dict[str, Schema]) -> Schema:
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": title, **of, "$defs": defs}


def _schema(hint: Any, defs: dict[str, Schema]) -> Schema:
    """Return the schema of an annotation; records are entered in `defs`."""
    origin, args = get_origin(hint), get_args(hint)
    if hint in SIMPLE:
        return {"type": SIMPLE[hint]}
    if origin is UnionType:
        each = [_schema(one, defs) for one in args]
        plain = all(set(one) == {"type"} for one in each)
        return {"type": [one["type"] for one in each]} if plain else {"anyOf": each}
    if origin is Literal:
        return {"enum": list(args)}
    if origin is list:
        return {"type": "array", "items": _schema(args[0], defs)}
    if origin is tuple and args[-1] is not ...:
        return {"type": "array", "items": _schema(args[0], defs), "minItems": len(args), "maxItems": len(args)}
    if origin is dict:
        values = {} if args[1] in (Any, object) else {"additionalProperties": _schema(args[1], defs)}
        return {"type": "object", **values}
    if not is_dataclass(hint) and not is_typeddict(hint):
        raise TypeError(f"{hint} is no JSON that this knows")
    if hint.__name__ not in defs:
        defs[hint.__name__] = {}  # a record may hold itself
        defs[hint.__name__] |= _record(hint, defs)
    return {"$ref": f"#/$defs/{hint.__name__}"}


def _record(
    record: type,
    defs: dict[str, Schema],
    more: Schema | None = None,
    optional: tuple[str, ...] = (),
    left_out: tuple[str, ...] = (),
) -> Schema:
    hints, told = {**get_type_hints(record), **(more or {})}, _told(record)
    keys = [each.name for each in fields(record)] if is_dataclass(record) else [*get_type_hints(record)]
    keys = [key for key in dict.fromkeys([*keys, *(more or {})]) if key not in left_out]
    optional += tuple(getattr(record, "__optional_keys__", ()))
    about = _line((inspect.getdoc(record) or "").partition("\n\n")[0])
    return {
        **({} if not about or about.startswith("dict(") else {"description": about}),
        "type": "object",
        "properties": {
            key: {**_schema(hints[key], defs), **({"description": told[key]} if key in told else {})} for key in keys
        },
        "required": [key for key in keys if key not in optional],
    }


def _told(record: type) -> dict[str, str]:
    """{key: what a docstring says of it}: of this record, and of those that it is made of."""
    parts = [record]
    if is_typeddict(record):  # which does not know its bases
        mine = record.__annotations__.items()
        home = vars(sys.modules[record.__module__]).values()
        parts = [one for one in home if is_typeddict(one) and one.__annotations__.items() <= mine]
    found: dict[str, str] = {}
    for part in parts:
        for names, text in COLUMN.findall(inspect.getdoc(part) or ""):
            first, *others = ALSO.split(text)
            found |= dict.fromkeys(names.split(", "), _line(first))
            for also, said in (other.split(": ", 1) for other in others):
                found |= dict.fromkeys(also.split(", "), _line(said))
    return found


def _line(text: str) -> str:
    return " ".join(text.split()).replace("None", "null")


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    for name, schema in schemas().items():
        (FOLDER / f"{name}.json").write_text(json.dumps(schema, indent=1) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
