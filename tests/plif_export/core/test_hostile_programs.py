"""A program comes from a card, so from strangers: what does not fit is refused in one line, by graph and file reader alike."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import onnx
import pytest

from runtime import load
from runtime.core.base.errors import PlifError
from runtime.core.model.artifacts import CARD_KEY
from runtime.core.model.card import read_card
from runtime.neurons.traced_program.program import MAX_LINES
from tests.programs import ADAPTIVE, GRADED, LEAKY, PLIF, recurrent, traced, written

GOOD: dict[str, Any] = {
    "states": {"v": 0.0, "i": 0.0},
    "program": [
        ["h", "Add", "v", "x"],
        ["fires", "Greater", "h", 1.0],
        ["s", "Cast", "fires"],
        ["v1", "Sub", "h", "s"],
    ],
    "h": "h",
    "s": "s",
    "next": {"v": "v1", "i": "s"},
}


def line(number: int, *content: Any) -> dict[str, Any]:
    program: list[Any] = copy.deepcopy(GOOD["program"])
    program[number] = list(content)
    return {"program": program}


# what is changed, and what the refusal says
HOSTILE: dict[str, tuple[dict[str, Any], str]] = {
    "no program": ({"program": None}, "its program is None; expected a list"),
    "an endless program": ({"program": [[f"a{i}", "Neg", "x"] for i in range(MAX_LINES + 1)]}, "at most 256 lines"),
    "a line that is text": ({"program": ["h = v + x"]}, "line 1 of its program is 'h = v"),
    "an empty line": (line(1), r"line 2 of its program is \[\]"),
    "an unknown operation": (line(0, "h", "Eval", "x"), "line 1 of its program has the operation 'Eval'; known: Add"),
    "an operation that is a list": (line(0, "h", ["Add"], "x"), "has the operation"),
    "too few operands": (line(0, "h", "Add", "v"), "gives 1 operands to Add; expected 2"),
    "too many operands": (line(0, "h", "Add", "v", "x", "x"), "gives 3 operands to Add"),
    "what is made later": (line(0, "h", "Add", "v", "v1"), "reads 'v1'; expected a name that was made before"),
    "itself": (line(0, "h", "Add", "v", "h"), "reads 'h'"),
    "a second input that is not there": (line(0, "h", "Add", "v", "x1"), "reads 'x1'"),
    "infinity": (line(0, "h", "Add", "v", float("inf")), "reads inf"),
    "no number": (line(0, "h", "Add", "v", float("nan")), "reads nan"),
    "more than float32 holds": (line(0, "h", "Add", "v", 10**400), "reads 1000"),
    "true": (line(0, "h", "Add", "v", True), "reads True"),
    "an object": (line(0, "h", "Add", "v", {"a": 1}), "reads {'a': 1}"),
    "a truth value as a number": (line(3, "v1", "Sub", "h", "fires"), "reads 'fires', which is a truth value"),
    "a number as a truth value": (line(2, "s", "Cast", "h"), "reads 'h', which is a number; expected a truth value"),
    "a name that is taken": (line(3, "h", "Sub", "h", "s"), "makes 'h', which exists already"),
    "a name that is a path": (line(3, "../v1", "Sub", "h", "s"), "line 4 of its program"),
    "a name of a megabyte": (line(3, "v" * 2**20, "Sub", "h", "s"), "line 4 of its program"),
    "no membrane": ({"states": {"u": 0.0, "i": 0.0}, "next": {"u": "v1", "i": "s"}}, "with a membrane 'v'"),
    "states that are a list": ({"states": ["v", "i"]}, "its states are"),
    "an endless start": ({"states": {"v": 0.0, "i": float("inf")}}, "its state 'i' starts at inf"),
    "a start that is text": ({"states": {"v": "0", "i": 0.0}}, "its state 'v' starts at '0'"),
    "a state called x": ({"states": {"v": 0.0, "i": 0.0, "x": 0.0}}, "'x' is no name, or names two"),
    "a state without a next": ({"next": {"v": "v1"}}, "its next states are"),
    "a next of nothing": ({"next": {"v": "v1", "i": "s", "j": "s"}}, "its next states are"),
    "a next that is a number": ({"next": {"v": "v1", "i": 0.5}}, "the next i reads 0.5"),
    "a next that is a truth value": ({"next": {"v": "v1", "i": "fires"}}, "the next i reads 'fires'"),
    "spikes that are not made": ({"s": "t"}, "its s reads 't'"),
    "a list as spikes": ({"s": ["s"]}, "its s reads"),
    "graded that is a word": ({"graded": "no"}, "graded is 'no'; expected true or false"),
    "spikes that are not only 0 and 1": ({"s": "h"}, "its spikes 'h' are not 0 and 1 alone"),
}  # fmt: skip


def give(proto: onnx.ModelProto, card: str, path: Path) -> None:
    """Writes the file with another card, and without the digest that would say so."""
    (entry,) = [one for one in proto.metadata_props if one.key == CARD_KEY]
    entry.value = card
    path.write_bytes(proto.SerializeToString())


@pytest.mark.parametrize("what", HOSTILE)
def test_a_program_that_does_not_fit_is_refused_in_one_line(what: str) -> None:
    change, said = HOSTILE[what]
    traced("a", ("x",), (4,), GOOD, 1.0)
    with pytest.raises(PlifError, match=said) as refused:
        traced("a", ("x",), (4,), {**GOOD, **change}, 1.0)
    assert str(refused.value).startswith("layer a_neuron: ") and "\n" not in str(refused.value)
    assert len(str(refused.value)) < 400


def test_a_parameter_that_is_called_like_a_state_is_refused() -> None:
    for name in ("v", "x", "a b", ""):
        with pytest.raises(PlifError, match="is no name, or names two"):
            traced("a", ("x",), (4,), GOOD, 1.0, **{name: 0.5})


@pytest.mark.parametrize("what", HOSTILE)
def test_a_file_with_such_a_card_is_refused_before_anything_runs(tmp_path: Path, what: str) -> None:
    change, said = HOSTILE[what]
    proto, card = written(recurrent(), tmp_path / "m.onnx")
    card = json.loads(json.dumps(card))
    node = next(n for n in card["graph"]["nodes"] if n["name"] == "readout_neuron")
    node["attrs"] = {**node["attrs"], **GOOD, "spiking": True, **change}
    text = json.dumps(card)
    if any(word in text for word in ("NaN", "Infinity")):
        said = "not valid JSON"
    if what == "more than float32 holds":  # of any number of any card
        said = "its card has the number 1000.*; expected what a float32 can hold"
    give(proto, text, tmp_path / "m.onnx")
    for opened in (read_card, load):
        with pytest.raises(PlifError, match=said) as refused:
            opened(tmp_path / "m.onnx")
        assert str(refused.value).startswith(f"{tmp_path / 'm.onnx'}: ") and "\n" not in str(refused.value)


def test_a_number_that_json_reads_as_infinite_is_refused(tmp_path: Path) -> None:
    proto, card = written(recurrent(), tmp_path / "m.onnx")
    text = json.dumps(card).replace('["leaked", "Mul", "v", 0.9]', '["leaked", "Mul", "v", 1e999]')
    give(proto, text, tmp_path / "m.onnx")
    with pytest.raises(PlifError, match=r"its card has the number 1e999|line 1 of its program reads inf"):
        load(tmp_path / "m.onnx")


@pytest.mark.parametrize("field", ("params", "inputs"))
def test_a_traced_neuron_without_its_fields_is_refused(tmp_path: Path, field: str) -> None:
    proto, card = written(recurrent(), tmp_path / "m.onnx")
    for wrong in ({}, {field: 7}):
        changed = json.loads(json.dumps(card))
        node = next(n for n in changed["graph"]["nodes"] if n["name"] == "readout_neuron")
        del node[field]
        node.update(wrong)
        give(proto, json.dumps(changed), tmp_path / "m.onnx")
        with pytest.raises(PlifError, match="a node that is no layer"):
            load(tmp_path / "m.onnx")


def test_spikes_are_known_to_be_binary_through_what_keeps_them_so() -> None:
    """A spike of the step before, the opposite of one, and the smaller of two are 0 or 1 as well."""
    kept = [
        *GOOD["program"],
        ["other", "Sub", 1.0, "last"],
        ["both", "Mul", "other", "s"],
        ["which", "Where", "fires", "both", 0.0],
    ]
    states = {"v": 0.0, "last": 0.0}
    traced(
        "a", ("x",), (4,), {**GOOD, "states": states, "program": kept, "s": "which", "next": {"v": "v1", "last": "s"}}
    )
    for start, following in ((0.5, "s"), (0.0, "h")):
        again = {
            "states": {"v": 0.0, "last": start},
            "program": kept,
            "s": "which",
            "next": {"v": "v1", "last": following},
        }
        with pytest.raises(PlifError, match="not 0 and 1 alone"):
            traced("a", ("x",), (4,), {**GOOD, **again})


def test_the_programs_of_these_tests_are_good() -> None:
    for program in (PLIF, ADAPTIVE, GRADED, LEAKY):
        params = {"alpha": 0.5} if program is PLIF else {"beta": 0.5} if program is ADAPTIVE else {}
        assert traced("a", ("x",), (4,), program, **params).initial == program["states"]
