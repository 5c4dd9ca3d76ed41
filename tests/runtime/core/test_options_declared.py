"""An option is said once: the command line, its help and the Python call of a command have it from one field of a record."""

from __future__ import annotations

import importlib
import inspect
import json
import os
import subprocess
import sys
from collections import defaultdict
from dataclasses import MISSING, Field, FrozenInstanceError, fields, replace
from pathlib import Path
from typing import Any

import pytest

import runtime
from runtime.core.base.errors import PlifError
from runtime.core.base.options import list_options
from runtime.core.cli.commands import find_records
from runtime.core.cli.main import app, list_all_commands, run
from tests.conftest import REPOSITORY

# the Python call of a command; records that it has not: they are of the terminal, or of another call
CALLS = {
    "eval": (
        "runtime.core.measure.evaluate.judge:judge",
        {"OpenOptions", "Output", "ReplacementOptions", "GateOptions"},
    ),
    "predict": ("runtime.commands.predict.unlabelled:predict", {"OpenOptions", "Output"}),
    "stream": ("runtime.core.api:Model.stream", {"OpenOptions", "Output", "WatchOptions"}),
    "send": ("runtime.commands.send.recording:send", {"Output"}),
    "bench": ("runtime.commands.bench.table:bench", {"Output", "BenchReplacementOptions"}),
    "export": ("plif_export.core.pipeline:export", {"Output"}),
    "verify": ("plif_export.core.verification:verify", {"Output", "ProofOptions", "ProofSamples", "GateOptions"}),
    "check": ("plif_export.commands.supported.layers:check_file", {"Output"}),
    "paper figures": ("plif_train.commands.paper_figures.subject:open_subject", {"Output", "FigureOptions"}),
}
CALLS = {name: known for name, known in CALLS.items() if name in list_all_commands()}
OTHER_CALLS = {
    "OpenOptions": "runtime.core.api:load",
    "NmnistSource": "runtime.datasets.nmnist_sim.simulate_nmnist:simulate_nmnist",
    "GestureOptions": "runtime.datasets.gesture_sim.simulate_gesture:simulate_gesture",
    "MotionOptions": "runtime.datasets.motion.simulate_motion:simulate_motion",
    "LimitOptions": "runtime.commands.sets.check:check_dataset",
}
# names that mean something else in several commands
SEVERAL = {
    "against": "what eval compares with, what verify proves against",
    "classes": "of a model without a card, of gestures to record",
    "batch": "samples of eval and predict, streams of an export",
    "data": "needed by eval; beside it in bench and verify; of the paper and its figures",
    "engine": "one, several of bench, one more of verify",
    "follow": "of a stream, of a calibration",
    "framing": "of a stream in place of the card's, of a model without a card",
    "limit": "all when not given; of verify 4",
    "out": "a folder, a table, a set, a demo",
    "precision": "of an artifact, of a training",
    "seed": "of a proof, of a simulated set",
    "seconds": "of a measurement, of a recording of motion capture",
    "speed": "of a recording that is streamed, and that is sent",
    "steps": "of a proof, of a figure",
    "workers": "of an evaluation, of a simulation",
}
NOT_YET = ("train",)  # declares its options itself


def command_of(name: str) -> Any:
    return list_all_commands()[name].load(list_all_commands()[name].run)


def record_fields(name: str) -> dict[str, Field[Any]]:
    return {each.name: each for record in find_records(command_of(name)).values() for each in list_options(record)}


def call(place: str) -> inspect.Signature:
    module, _, path = place.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return inspect.signature(found)


ALL = [name for name in list_all_commands() if name not in NOT_YET]


@pytest.mark.parametrize("name", ALL)
def test_every_option_of_a_command_is_a_field_of_a_record_with_its_default_and_help(name: str) -> None:
    command = app.get_command(None, name)
    declared = record_fields(name)
    shown = {each.name: each for each in command.params if each.param_type_name == "option"}
    assert set(shown) - {"help"} == set(declared)
    for option, each in declared.items():
        assert shown[option].help == each.metadata["help"] and not shown[option].hidden
        assert shown[option].required == (each.default is MISSING)
        if each.default is not MISSING:
            assert shown[option].default == each.default
        if not each.metadata["flags"]:
            assert f"--{option.replace('_', '-')}" in shown[option].opts


def test_no_option_is_declared_in_two_places() -> None:
    places: dict[str, set[str]] = defaultdict(set)
    said: dict[str, set[str]] = defaultdict(set)
    for name in ALL:
        for record in find_records(command_of(name)).values():
            for each in list_options(record):
                owner = next(one for one in record.__mro__ if each.name in vars(one).get("__annotations__", ()))
                places[each.name].add(f"{owner.__module__}.{owner.__qualname__}")
                said[each.name].add(each.metadata["help"])
    twice = {option: sorted(owners) for option, owners in places.items() if len(owners) > 1}
    assert set(twice) == set(SEVERAL), twice
    assert all(len(said[option]) == len(places[option]) for option in twice), "two places with one meaning"


@pytest.mark.parametrize("name", CALLS)
def test_the_python_call_of_a_command_has_its_options_with_the_same_names_and_defaults(name: str) -> None:
    place, not_of_it = CALLS[name]
    parameters = call(place).parameters
    for record in find_records(command_of(name)).values():
        if record.__name__ not in not_of_it:
            for each in list_options(record):
                assert each.name in parameters, each.name
                default = (
                    MISSING
                    if parameters[each.name].default is inspect.Parameter.empty
                    else parameters[each.name].default
                )
                assert default == each.default, each.name


@pytest.mark.parametrize("record", OTHER_CALLS)
def test_records_of_another_call_have_its_names_and_defaults(record: str) -> None:
    parameters = call(OTHER_CALLS[record]).parameters
    found = {one.__name__: one for name in ALL for one in find_records(command_of(name)).values()}[record]
    for each in fields(found):
        if each.name not in ("triton", "source"):  # which server, and of which images: these must be named
            assert parameters[each.name].default == each.default, each.name


def test_python_may_give_what_the_command_line_has_as_text_and_both_are_checked() -> None:
    from runtime.core.stream.options import StreamOptions

    assert StreamOptions(sensor="346x260") == StreamOptions(sensor=(346, 260))  # type: ignore[arg-type]
    with pytest.raises(PlifError, match="--sensor big: expected WIDTHxHEIGHT"):
        StreamOptions(sensor="big")  # type: ignore[arg-type]
    with pytest.raises(PlifError, match="--threads 0: expected 1 or more"):
        runtime.load("none.onnx", threads=0)
    with pytest.raises(PlifError, match="thread=1: there is no such option; did you mean threads"):
        runtime.load("none.onnx", thread=1)
    assert StreamOptions(decide="sum").changed_flags() == {"--decide": "sum"}


def test_what_evaluates_nothing_takes_no_option_of_an_evaluation(capsys: pytest.CaptureFixture[str]) -> None:
    words = ["eval", "a.onnx", "--data", "digits", "--calibrate-exit", "1%"]
    assert run([*words, "-o", "b.onnx", "--stress"]) == 2
    assert "--stress says nothing" in capsys.readouterr().err
    assert run(words) == 2
    assert "-o NEW" in capsys.readouterr().err


def test_a_program_without_a_main_guard_may_have_workers(tmp_path: Path) -> None:
    (tmp_path / "program.py").write_text(
        "import json, sys, runtime\n"
        "from runtime.core.measure.evaluate.evaluation import evaluate\n"
        "print('once', file=sys.stderr)\n"
        "found = evaluate(runtime.load(sys.argv[1]), 'digits:64', workers=2, batch=8)\n"
        "print(json.dumps([found.workers, found.samples]))\n"
    )
    model = REPOSITORY / "models" / "nmnist-digits.pt"
    assert run(["export", str(model), "-o", str(tmp_path / "m.onnx"), "--no-verify"]) == 0
    command = [sys.executable, str(tmp_path / "program.py"), str(tmp_path / "m.onnx")]
    environment = {**os.environ, "PYTHONPATH": str(REPOSITORY)}
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, env=environment)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout) == [2, 64] and done.stderr.count("once") == 1


def test_a_record_is_its_values_and_cannot_be_changed() -> None:
    from runtime.core.base.declared import LimitOptions

    one, other = LimitOptions(limit=3), LimitOptions(limit=4)
    assert one == replace(other, limit=3) != other and len({one, other, LimitOptions(limit=3)}) == 2
    assert eval(repr(one), {"LimitOptions": LimitOptions}) == one
    with pytest.raises(FrozenInstanceError, match="LimitOptions: limit cannot be changed"):
        setattr(one, "limit", 5)  # noqa: B010  the type checker knows that it cannot be
    with pytest.raises(PlifError, match="limt=3: there is no such option; did you mean limit"):
        LimitOptions(limt=3)  # type: ignore[call-arg]
