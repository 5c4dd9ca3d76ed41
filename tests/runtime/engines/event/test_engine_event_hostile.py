"""The event engine refuses what it cannot run, in one line that names the layer, and survives what programs do around it."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

import runtime
from plif_export import export
from plif_export.core.cards import set_card
from runtime import native
from runtime.core.base.errors import PlifError
from runtime.core.model.card import read_card
from runtime.core.model.readers.onnx_contents import read_initializers
from tests.networks import firing, frames

needs_library = pytest.mark.skipif(
    not native.is_built(), reason="the native library is not built here: it needs a C compiler"
)

Change = Callable[[onnx.ModelProto, dict[str, Any]], None]


@pytest.fixture(scope="module")
def artifact(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("hostile") / "a.onnx"
    export(firing(), path)
    return path


def changed(artifact: Path, folder: Path, change: Change) -> Path:
    proto, card = onnx.load(artifact), read_card(artifact)
    change(proto, card)
    set_card(proto, card)
    path = folder / "b.onnx"
    onnx.save(proto, path)
    return path


def tensor(proto: onnx.ModelProto, name: str) -> onnx.TensorProto:
    return next(t for t in proto.graph.initializer if t.name == name)


def node(card: dict[str, Any], name: str) -> dict[str, Any]:
    return next(n for n in card["graph"]["nodes"] if n["name"] == name)


def replace(name: str, make: Callable[[np.ndarray], np.ndarray]) -> Change:
    def change(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
        t = tensor(proto, name)
        t.CopyFrom(numpy_helper.from_array(make(numpy_helper.to_array(t)), name))

    return change


def edit(name: str, **fields: Any) -> Change:
    def change(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
        node(card, name).update(fields)

    return change


def attribute(name: str, **attrs: Any) -> Change:
    return lambda proto, card: node(card, name)["attrs"].update(attrs)


def state_shape(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
    card["states"][1]["shape"] = [8, 4, 4]


def larger_neuron(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
    for part in (node(card, "fc2_neuron"), card["states"][-1]):
        part["shape"] = [3000000]
    node(card, "vote")["attrs"]["voters"] = 1000000


def one_state(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
    card["states"][0]["shape"] = node(card, "conv2_neuron")["shape"] = node(card, "conv1_neuron")["shape"]
    node(card, "conv2_neuron")["attrs"]["layer"] = "conv1"
    for name in ("conv1_pool", "conv2"):
        node(card, name)["shape"] = [8, 16, 16]
    node(card, "conv1_pool")["attrs"].update(kernel=1, stride=1)


def data_type(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
    tensor(proto, "conv1.weight").data_type = onnx.TensorProto.BFLOAT16


HOSTILE: list[tuple[str, Change]] = [
    (
        "layer conv1: the file has no tensor conv1.weight",
        lambda p, c: p.graph.initializer.remove(tensor(p, "conv1.weight")),
    ),
    (
        "no tensor conv1_neuron.one_minus_alpha",
        lambda p, c: p.graph.initializer.remove(tensor(p, "conv1_neuron.one_minus_alpha")),
    ),
    ("layer conv2: weight is", replace("conv2.weight", lambda w: w[:, :4].copy())),
    ("layer conv2 gives", replace("conv2.weight", lambda w: np.zeros((8, 8, 5, 5), np.float32))),
    (
        "layer fc1: fc1.weight is \\[40, 100\\]; expected \\[40, 128\\]",
        replace("fc1.weight", lambda w: w[:, :100].copy()),
    ),
    ("conv1.weight: has data type 16; expected one of", data_type),
    ("conv1.weight is float64", replace("conv1.weight", lambda w: w.astype(np.float64))),
    (
        "alpha has 3 numbers; expected 1 or 8",
        replace("conv1_neuron.one_minus_alpha", lambda a: np.zeros(3, np.float32)),
    ),
    ("operation Sort is not in this engine; use --engine onnxruntime", edit("vote", op="Sort")),
    (r"layer vote \(Softmax\): missing \['axis'\]", edit("vote", op="Softmax")),
    ("layer conv2 reads \\['nobody'\\]", edit("conv2", inputs=["nobody"])),
    ("layer conv2 reads nothing", edit("conv2", inputs=[])),
    ("layer conv2 gives \\[8, 8, 8\\], its card says \\[8, 9, 9\\]", edit("conv2", shape=[8, 9, 9])),
    ("layer conv1_pool: kernel 99", attribute("conv1_pool", kernel=99)),
    ("layer conv1_pool: kernel 2, stride 0", attribute("conv1_pool", stride=0)),
    ("stride 0", attribute("conv2", stride=0)),
    ("layer conv2: weight is", attribute("conv2", groups=3)),
    ("layer conv2: weight is", attribute("conv2", groups=0)),
    ("layer vote: 7 voters", attribute("vote", voters=7)),
    ("charge 'magic' is not in this engine", attribute("conv1_neuron", charge="magic")),
    ("no state of shape", attribute("conv1_neuron", layer="conv9")),
    ("no state of shape", state_shape),
    ("the graph in its card cannot be read", edit("conv2", attrs={})),
    ("its graph lacks an input, an output or its nodes", lambda p, c: c.update(graph={"nodes": 3})),
    ("its output 'nobody' is not one of its layers", lambda p, c: c["graph"].update(output="nobody")),
    ("for 3 classes", lambda p, c: c["graph"].update(output="flatten")),
    ("precision fp16", lambda p, c: c.update(precision="fp16")),
    # numbers that a field of 32 bits would cut down to one that fits
    ("4294967296, where a whole number from 0 on is expected", attribute("conv2", stride=1 << 32)),
    ("4294967297, where a whole number", attribute("conv2", padding=(1 << 32) + 1)),
    ("4294967298, where a whole number", attribute("conv1_pool", kernel=(1 << 32) + 2)),
    ("2.5, where a whole number", attribute("conv2", stride=2.5)),
    ("4294967304, where a whole number from 1 on is expected", edit("conv2", shape=[8, (1 << 32) + 8, 8])),
    # a neuron that is larger than its convolution, with a state that is as large as the neuron
    ("layer fc2_neuron reads \\[30, 1, 1\\], its card says \\[3000000\\]", larger_neuron),
    ("layer conv2_neuron and another have the one state of conv1", one_state),
    (
        "no layer has the state of nobody",
        lambda p, c: c["states"].append({**c["states"][0], "name": "v.n", "layer": "nobody"}),
    ),
    (
        "state v.conv1: shape \\[8, 1048576, 1048576\\] has more than",
        lambda p, c: c["states"][0].update(shape=[8, 1 << 20, 1 << 20]),
    ),
    ("T is 1000000; expected time-steps from 1 to 4096", lambda p, c: c.update(T=10**6)),
    ("its card has the number 1000", lambda p, c: c["states"][0].update(initial=10**400)),
    ("its card has the number 1000", lambda p, c: c["taus"].update(conv1=10**400)),
]


@needs_library
@pytest.mark.parametrize(("message", "change"), HOSTILE, ids=[m for m, _ in HOSTILE])
def test_what_it_cannot_run_is_refused_in_one_line(
    message: str, change: Change, artifact: Path, tmp_path: Path
) -> None:
    path = changed(artifact, tmp_path, change)
    with pytest.raises(PlifError, match=message) as error:
        runtime.load(path, "event")
    assert "\n" not in str(error.value) and str(path) in str(error.value)


@needs_library
def test_a_tensor_with_fewer_bytes_than_its_shape_is_refused(artifact: Path, tmp_path: Path) -> None:
    def cut(proto: onnx.ModelProto, card: dict[str, Any]) -> None:
        t = tensor(proto, "fc1.weight")
        t.raw_data = t.raw_data[:-4]

    with pytest.raises(PlifError, match=r"tensor fc1.weight: holds \d+ bytes; expected \d+ for shape \[40, 128\]"):
        runtime.load(changed(artifact, tmp_path, cut), "event")


def test_initializers_are_read_as_onnx_reads_them(artifact: Path, tmp_path: Path) -> None:
    names = [t.name for t in onnx.load(artifact).graph.initializer]
    found = read_initializers(artifact, names)
    assert set(found) == set(names)
    for t in onnx.load(artifact).graph.initializer:
        np.testing.assert_array_equal(found[t.name], numpy_helper.to_array(t))
    typed = onnx.helper.make_tensor(
        "w", onnx.TensorProto.FLOAT, [2, 2], [1.0, 2.0, 3.0, 4.0]
    )  # float_data, not raw_data
    onnx.save(onnx.helper.make_model(onnx.helper.make_graph([], "g", [], [], [typed])), tmp_path / "w.onnx")
    np.testing.assert_array_equal(read_initializers(tmp_path / "w.onnx", ["w", "absent"])["w"], [[1, 2], [3, 4]])


def test_a_file_cut_anywhere_is_refused_and_never_a_traceback(artifact: Path, tmp_path: Path) -> None:
    whole = artifact.read_bytes()
    rng = np.random.default_rng(0)
    names = [t.name for t in onnx.load(artifact).graph.initializer]
    for at in rng.integers(0, len(whole) - 1, 60):
        (tmp_path / "cut.onnx").write_bytes(whole[:at])
        with pytest.raises(PlifError):
            runtime.load(tmp_path / "cut.onnx", "event")
    for _ in range(60):
        damaged = bytearray(whole)
        for at in rng.integers(0, len(whole), 8):
            damaged[at] = rng.integers(256)
        (tmp_path / "bits.onnx").write_bytes(damaged)
        try:
            read_initializers(tmp_path / "bits.onnx", names)
        except PlifError as error:
            assert "\n" not in str(error)


def test_a_machine_without_the_library_says_so_in_one_line(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(native, "_open", lambda: None)
    assert not native.is_built()
    with pytest.raises(PlifError, match=r"^[^\n]*needs its native library, [^\n]*install gcc or clang, [^\n]*$"):
        runtime.load(artifact, "event")
    assert runtime.load(artifact, "onnxruntime").session().steps == [0]


@needs_library
def test_a_path_that_the_processor_lacks_is_refused(artifact: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(native.PATH_VARIABLE, "altivec")
    with pytest.raises(PlifError, match="PLIF_CPU=altivec: this processor and build have scalar"):
        runtime.load(artifact, "event")
    with pytest.raises(PlifError, match="runs on cpu only"):
        runtime.load(artifact, "event", device="cuda")


@needs_library
def test_buffers_that_do_not_fit_are_refused(artifact: Path) -> None:
    model = runtime.load(artifact, "event")
    v = model.engine.membranes(2)[0]  # type: ignore[attr-defined]
    x, y = np.zeros((2, 2, 16, 16), np.float32), np.zeros((2, 3), np.float32)
    model.engine.bind(x, v, y, v)()
    for wrong in (
        (x.astype(np.float64), v, y, v),
        (x[:, :, ::-1], v, y, v),
        (x, v, y[:1], v),
        (x, [v[0], *v[:-1]], y, v),
        (x[:1], v, y[:1], v),
    ):
        with pytest.raises(PlifError, match="expected"):
            model.engine.bind(*wrong)


@needs_library
def test_long_silence_leaves_no_subnormals_and_numpy_keeps_its_own(artifact: Path) -> None:
    session = runtime.load(artifact, "event", threads=2).session()
    smallest = np.full(1, np.finfo(np.float32).tiny)
    for t in range(2000):
        session.step(np.full((1, 2, 16, 16), 2.0 if t < 5 else 0.0, np.float32))
    bits = np.concatenate([np.abs(v).ravel() for v in session.state.values()]).view(np.uint32)
    assert not np.any((bits > 0) & (bits < 0x00800000))
    before = (smallest * np.float32(0.5))[0]  # what NumPy does here may be flushed already, by ONNX Runtime
    session.step(np.zeros((1, 2, 16, 16), np.float32))
    assert (smallest * np.float32(0.5))[0] == before


@needs_library
def test_two_python_threads_share_an_engine_without_touching_each_other(artifact: Path) -> None:
    x = frames(firing(), np.random.default_rng(1), T=30, streams=4)
    for threads in (1, 2):
        model = runtime.load(artifact, "event", threads=threads)
        alone = [model.session().run(x[:, i : i + 1]) for i in range(4)]
        found: list[Any] = [None] * 4

        def run(i: int, model: Any = model, found: list[Any] = found) -> None:
            found[i] = model.session().run(x[:, i : i + 1])

        workers = [threading.Thread(target=run, args=(i,)) for i in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
        for one, other in zip(alone, found, strict=True):
            np.testing.assert_array_equal(one, other)


@needs_library
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_process_makes_its_own_threads(artifact: Path) -> None:
    x = frames(firing(), np.random.default_rng(2), T=4, streams=1)
    session = runtime.load(artifact, "event", threads=2).session()
    expected = session.run(x)
    session.reset()
    child = os.fork()
    if child == 0:
        os._exit(0 if np.array_equal(session.run(x), expected) else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    np.testing.assert_array_equal(session.run(x), expected)
