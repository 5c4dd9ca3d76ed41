"""`import plif` is all that a user imports: every verb of the command, on a file; nothing is loaded before it is needed."""

from __future__ import annotations

import ast
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

import plif
from runtime.core.base.errors import PlifError
from runtime.core.events import write_nmnist
from runtime.core.parts import find_parts
from tests.conftest import REPOSITORY
from tests.networks import digits_network
from tests.recordings import some_events


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """model.pt, model.onnx, model_T8.onnx and recordings/one.bin."""
    folder = tmp_path_factory.mktemp("plif")
    plif.save(digits_network(), folder / "model.pt")
    model = plif.load(folder / "model.pt")
    assert model.export().path == folder / "model.onnx" and model.export(form="unrolled").passed
    (folder / "recordings").mkdir()
    write_nmnist(folder / "recordings" / "one.bin", some_events(300))
    return folder


def loaded(program: str, folder: Path) -> list[str]:
    """Which of these libraries a program has loaded at its end."""
    heavy = ("numpy", "torch", "onnx", "onnxruntime", "matplotlib", "pathlib")
    code = f"import sys; sys.path[:] = {sys.path!r}\n{program}\nprint([m for m in {heavy!r} if m in sys.modules])"
    done = subprocess.run([sys.executable, "-S", "-c", code], cwd=folder, capture_output=True, text=True, check=True)
    return ast.literal_eval(done.stdout.splitlines()[-1])


def test_the_import_loads_nothing_and_an_artifact_is_used_without_pytorch(folder: Path) -> None:
    assert loaded("import plif", folder) == []
    assert "torch" not in loaded("import plif; plif.load('model.pt')", folder)  # its card alone
    program = "import plif; m = plif.load('model.onnx', engine='event'); list(m.stream('recordings/one.bin'))"
    assert not {"torch", "onnx", "onnxruntime"} & set(loaded(program, folder))
    assert "torch" in loaded("import plif; plif.Network", folder)


def test_a_name_whose_library_is_missing_says_what_to_install(folder: Path) -> None:
    program = (
        "import sys; sys.path[:] = {path!r}; sys.modules['torch'] = None; import plif\n"
        "try: plif.{name}\nexcept plif.PlifError as error: print(error)"
    )
    for name, extra in (("Network", "train"), ("export", "cpu,export")):
        code = program.format(path=sys.path, name=name)
        said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=folder)
        assert said.stdout.endswith(f"pip install 'plif[{extra}]'\n") and said.stdout.count("\n") == 1


def test_an_artifact_has_every_verb(folder: Path) -> None:
    model = plif.load(folder / "model.onnx", engine="event")
    assert model.verify(folder / "model.pt").passed
    found = model.evaluate("digits:4")
    assert found.samples == 4 and found.engine == "event" and found.firing_rates
    assert model.predict(folder / "recordings").recordings == 1
    assert [decision.step for decision in model.stream(str(folder / "recordings" / "one.bin"))]
    (row, other) = model.bench(folder / "model.pt", seconds=0.1, engine=["auto"])
    assert row.artifact == "model.onnx" and other.engine == "torch"
    assert model.session(streams=2).step(np.zeros((2, 2, 34, 34), np.float32)).shape == (2, 10)
    assert model.opened() is model.opened() and model.card["form"] == "step"


def test_a_model_has_every_verb_and_goes_on_in_training(folder: Path, tmp_path: Path) -> None:
    model = plif.load(folder / "model.pt")
    assert model.evaluate("digits:4").engine == "torch"
    record = model.train("digits:8", tmp_path / "more.pt", plif.Recipe(epochs=1, batch_size=4), limit_test=2, T=16)
    assert record["from"] == "model.pt" and plif.load(tmp_path / "more.pt").card["T"] == 16
    assert isinstance(plif.build("nmnist", channels=2, hidden=20), plif.Network)


def test_what_a_file_cannot_do_it_says_in_one_line(folder: Path, tmp_path: Path) -> None:
    artifact, model = plif.load(folder / "model.onnx"), plif.load(folder / "model.pt")
    unrolled = plif.load(folder / "model_T8.onnx")
    frame = np.zeros((1, 2, 34, 34), np.float32)
    for refused, sentence in (
        (lambda: artifact.train("digits:4", tmp_path / "no.pt"), "load the model.pt it was made from"),
        (lambda: artifact.export(tmp_path / "no.onnx"), "expected the model.pt, state_dict or NIR file"),
        (lambda: model.verify(folder / "model.pt"), "export it first: plif export"),
        (lambda: unrolled.stream("sim:digits"), "use the step form: plif export --form step"),
        (lambda: unrolled.session().step(frame), "for single steps use the step form"),
        (lambda: unrolled.bench(), "plif eval times batches"),
        (lambda: plif.load(folder / "model.onnx", sha256="00"), "the file is another one, or was changed"),
        (lambda: plif.load(folder / "absent.onnx"), "absent.onnx"),
    ):
        with pytest.raises(plif.PlifError, match=sentence) as error:
            refused()
        assert "\n" not in str(error.value)
    assert not list(tmp_path.iterdir())
    with pytest.raises(AttributeError, match="'plif' has no attribute 'lod'"):
        plif.lod  # noqa: B018


def test_a_changed_artifact_is_judged_and_not_run(folder: Path, tmp_path: Path) -> None:
    changed = Path(shutil.copy(folder / "model.onnx", tmp_path))
    weights = onnx.load(changed)
    weights.graph.initializer[0].raw_data = bytes(reversed(weights.graph.initializer[0].raw_data))
    onnx.save(weights, changed)
    model = plif.load(changed)
    assert not model.verify(folder / "model.pt").passed
    with pytest.raises(plif.PlifError, match="export"):
        model.session()


def test_a_session_takes_python_lists_and_says_what_it_wants_of_others(folder: Path) -> None:
    frame = np.random.default_rng(0).poisson(0.3, (1, 2, 34, 34)).astype(np.float32)
    arrays, lists = (plif.load(folder / "model.onnx").session() for _ in range(2))
    assert np.array_equal(arrays.step(frame), lists.step(frame.tolist()))
    assert np.array_equal(arrays.run(frame[None]), lists.run([frame.tolist()]))
    assert len(plif.load(folder / "model_T8.onnx").session().run([frame.tolist()] * 8)) == 8
    before = [v.copy() for v in lists.snapshot()]
    for wrong in ([[1.0], [2.0, 3.0]], None, "frame", {"x": 1}, [[None]], [1.0, 2.0]):
        with pytest.raises(plif.PlifError, match=r"^x is .*expected") as error:
            lists.step(wrong)
        assert "\n" not in str(error.value)
    assert all(np.array_equal(a, b) for a, b in zip(before, lists.snapshot(), strict=True))


def test_what_is_printed_of_models_sessions_and_reports_fits_a_screen(folder: Path, tmp_path: Path) -> None:
    model = plif.load(folder / "model.onnx")
    exported = plif.load(folder / "model.pt").export(tmp_path / "again.onnx")
    shown = {
        repr(model): "model.onnx': artifact, step form, fp32, 2x34x34 -> 10 classes, T 8",
        repr(plif.load(folder / "model.pt")): "model.pt': model, {c8k3s1-BN-PLIF-MPk2s2}*2",
        repr(model.opened()): "T 8, engine event>",
        repr(model.session(2)): "Session: 2 streams after 0 to 0 steps of <Model",
        repr(exported): "again.onnx': ",
        repr(exported.verify): "Report: parity passed",
        repr(model.evaluate("digits:2")): "accuracy",
        repr(model.predict(folder / "recordings")): "recordings=1",
    }
    for text, part in shown.items():
        assert part in text and text.isprintable() and len(text) < 24 * 80, text
    assert all(len(text) < 600 for text in list(shown)[:6])


def test_the_page_on_python_shows_what_runs_and_names_everything(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    page = (REPOSITORY / "docs" / "python.md").read_text(encoding="utf-8")
    program = page.partition("<!-- run: files -->\n```python\n")[2].partition("```")[0]
    monkeypatch.chdir(shutil.copytree(folder, tmp_path / "here"))
    names: dict[str, Any] = {"__name__": "page"}
    exec(compile(program, "docs/python.md", "exec"), names)
    assert names["report"].passed and names["proof"].passed and names["result"].samples == 20
    assert len(names["labels"]) == 1 and len(names["rows"]) == 2 and names["y"].shape == (2, 10)
    assert [name for name in plif.__all__ if not name.startswith("__") and name not in page] == []
    assert [verb for verb in vars(plif.Model) if not verb.startswith("_") and verb not in page] == ["opened"]


def test_everything_that_is_listed_is_there_and_says_what_it_gives() -> None:
    for name in plif.__all__:
        assert name == "__version__" or getattr(plif, name).__doc__, name
    for verb in ("export", "verify", "evaluate", "predict", "stream", "bench", "train", "session"):
        assert getattr(plif.Model, verb).__doc__


class OwnNetwork(torch.nn.Linear):
    """A module that no notation string describes."""


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (lambda out: plif.train(OwnNetwork(2, 2), "digits:10", out), "a OwnNetwork is neither a network nor a recipe"),
        (lambda out: plif.train("nmnist", [OwnNetwork(2, 2)], out), "data: a list; expected NAME:DIR"),
        (lambda out: plif.train("nmnist", OwnNetwork(2, 2), out), "data: a OwnNetwork; expected NAME:DIR"),
        (lambda out: plif.save(OwnNetwork(2, 2), out), "model.pt: a OwnNetwork has no notation"),
    ],
)  # fmt: skip
def test_a_module_or_a_data_set_of_ones_own_is_refused_in_one_line(
    call: Callable[[Path], object], expected: str, tmp_path: Path
) -> None:
    with pytest.raises(plif.PlifError, match=expected) as refused:
        call(tmp_path / "model.pt")
    assert "\n" not in str(refused.value) and list(tmp_path.iterdir()) == []


def test_an_option_that_there_is_not_is_one_line_with_the_one_that_was_meant(folder: Path, tmp_path: Path) -> None:
    model = plif.load(folder / "model.pt")
    for call, said in (
        (lambda: model.export(tmp_path / "m.onnx", precison="int8"), "precison='int8'.*did you mean precision"),
        (lambda: model.evaluate("digits:10", limt=3), "limt=3.*did you mean limit"),
        (
            lambda: plif.verify(folder / "model.onnx", folder / "model.pt", zzz=1),
            "zzz=1: there is no such option; expected some of .*steps",
        ),
        (lambda: model.export(tmp_path / "m.onnx", int8=True, precision="fp16"), "--int8: is --precision int8, beside"),
        (lambda: model.export(tmp_path / "m.onnx", set={}, options={}), "options=.*the same option as options"),
    ):
        with pytest.raises(plif.PlifError, match=said) as refused:
            call()
        assert "\n" not in str(refused.value)
    assert list(tmp_path.iterdir()) == []


def test_names_of_the_command_line_work_in_python(folder: Path, tmp_path: Path) -> None:
    model = plif.load(folder / "model.pt")
    for alias, precision in (("int8", "int8"), ("half", "fp16")):
        path = model.export(tmp_path / f"{alias}.onnx", verify=False, **{alias: True}).path
        assert plif.load(path).card["precision"] == precision
    assert model.export(tmp_path / "m.c", to="c", set={"layout": "arduino"}, verify=False).path.exists()


EVERY_CALL = """
import ctypes, ctypes.util, platform, sys, warnings, numpy as np, torch
warnings.simplefilter("ignore")
environment = (ctypes.c_uint32 * 64)()
def modes():
    ctypes.CDLL(ctypes.util.find_library("m")).fegetenv(environment)
    register = environment[7] & ~0x3f if platform.machine() == "x86_64" else environment[0]  # without what merely happened
    products = [float(torch.tensor(1e-30) * 1e-12), float(np.full(1, 1e-30, np.float32)[0] * np.float32(1e-12))]
    torches = [torch.get_default_dtype(), torch.get_float32_matmul_precision(), torch.is_grad_enabled()]
    return hex(register), products, np.geterr(), *torches

import plif
from plif import PlifError
one, x = "recordings/one.bin", np.zeros((1, 2, 34, 34), np.float32)
def stepped(path, **options):
    session = plif.load(path, **options).session()
    session.step(x)
    session.run(np.zeros((3, *x.shape), np.float32))
    session.reset()
calls = {
    "export": lambda: plif.export("model.pt", "again.onnx"),
    "verify": lambda: plif.verify("model.onnx", "model.pt", engine="event"),
    "verify onnxruntime": lambda: plif.load("model.onnx").verify("model.pt", engine="onnxruntime"),
    "check": lambda: plif.check(plif.build("FC10-PLIF", shape=(2, 34, 34)), torch.from_numpy(x)),
    "step": lambda: stepped("model.onnx", engine="event"),
    "step onnxruntime": lambda: stepped("model.onnx", engine="onnxruntime", threads=2),
    "step kept": lambda: stepped("model.onnx", engine="onnxruntime", flush_denormals=False),
    "step torch": lambda: stepped("model.pt", flush_denormals=True),
    "stream": lambda: list(plif.load("model.onnx", engine="onnxruntime").stream(one)),
    "predict": lambda: plif.load("model.onnx", engine="event").predict(one),
    "evaluate": lambda: plif.load("model.onnx", engine="onnxruntime").evaluate("digits:2"),
    "bench": lambda: plif.load("model.onnx").bench("model.pt", seconds=0.1),
    "train": lambda: plif.load("model.pt").train("digits:4", f"more-{flush}.pt", plif.Recipe(epochs=1, batch_size=4), T=16),
    "save": lambda: plif.save(plif.build("FC10-PLIF", shape=(2, 34, 34)), "other.pt"),
    "refused": lambda: plif.load("model.onnx", engine="onnxruntime").session().step(x[0, 0]),
}
for flush in (False, True):
    torch.set_flush_denormal(flush)
    for name, call in calls.items():
        before = modes()
        try:
            call()
        except PlifError as error:
            assert name == "refused", (name, error)
        if modes() != before:
            print(name, before, modes())
            torch.set_flush_denormal(flush)
"""


def test_no_call_changes_the_floating_point_modes_of_who_calls(folder: Path, tmp_path: Path) -> None:
    """In a process of its own, where ours is the first session of ONNX Runtime, with subnormal numbers kept and flushed."""
    shutil.copytree(folder, tmp_path / "here")
    program = f"import sys; sys.path[:] = {sys.path!r}\n{EVERY_CALL}"
    done = subprocess.run([sys.executable, "-c", program], cwd=tmp_path / "here", capture_output=True, text=True)
    assert (done.stdout, done.returncode) == ("", 0), done.stderr


def test_a_verb_whose_part_was_taken_out_says_so_in_one_line(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    model = plif.load(folder / "model.onnx")
    for name in ("predict", "bench", "supported"):
        monkeypatch.delitem(find_parts("commands"), name)
    for name, call in (("predict", model.predict), ("bench", model.bench), ("check", lambda: plif.check)):
        vars(plif).pop("check", None)
        with pytest.raises(PlifError, match=f"{name}: this plif has no such command; it was taken out"):
            call()
