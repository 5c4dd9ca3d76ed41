"""--to openvino: the folder runs as the model does, in the precision that was asked for, and broken folders are caught."""

from __future__ import annotations

import json
import platform
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

import runtime
from plif_export import ParityError, export, verify
from runtime.artifacts.openvino_ir.contents import read_contents as read_openvino
from runtime.core.api import Model
from runtime.core.base.errors import PlifError
from runtime.core.engines.buffers import Arrays, Rates
from runtime.core.model.card import read_card
from runtime.core.model.digest import write_digest
from tests.conftest import crossed
from tests.networks import firing, frames
from tests.runtime.core.conftest import add_engines

pytestmark = pytest.mark.machines

ov = pytest.importorskip("openvino")

SAME_SHAPES = "{c8k3s1-BN-PLIF}*2-MPk4s4-FC40-PLIF-FC30-PLIF-APk10s10"
VARIANTS: list[dict[str, Any]] = [{}, {"v_reset": None}, {"v_reset": -0.25, "tau": "channel"}, {"decay_input": False}]
STATEFUL = {"stateful": "true"}


def exported(folder: Path, name: str = "m_openvino", net: nn.Module | None = None, **options: Any) -> Path:
    result = export(net or firing(), folder / name, to="openvino", **options)
    assert result.passed and result.verify is not None and result.verify.engine == "openvino"
    return result.path


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The network of `firing()`, for tests that leave the folder as it is."""
    return exported(tmp_path_factory.mktemp("plain"))


@pytest.fixture(scope="module")
def same_shapes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A network whose two convolutions have states of one shape, by form."""
    folder = tmp_path_factory.mktemp("same_shapes")
    return {form: exported(folder, f"{form}_openvino", firing(SAME_SHAPES), form=form) for form in ("step", "unrolled")}


@pytest.mark.parametrize(
    ("variant", "math", "form"), crossed(VARIANTS, ("exact", "folded"), ("step", "unrolled"), one_in=3)
)
def test_the_folder_passes_the_gate_when_it_is_written_and_alone_afterwards(
    tmp_path: Path, variant: dict[str, Any], math: str, form: str
) -> None:
    net = firing(**variant)
    path = exported(tmp_path, net=net, math=math, form=form)
    report = verify(path, net)
    assert report.passed and report.engine == "openvino" and report.untested == []
    assert report.spikes > 2000 and report.engine_steps >= 15 and report.rows == 33 and report.probed > 5000
    if form == "step":
        x = frames(net, np.random.default_rng(1), T=7, streams=3)
        assert verify(path, net, x).engine_steps == 21


@pytest.mark.parametrize("precision", ("fp16", "int8"))
@pytest.mark.parametrize("form", ("step", "unrolled"))
def test_reduced_precision_does_what_the_rounded_weights_say(tmp_path: Path, precision: str, form: str) -> None:
    net = firing("{c8k3s1-BN-PLIF-APk2s2}*2-FC40-PLIF-FC30-PLIF-APk10s10")
    path = exported(tmp_path, net=net, precision=precision, form=form)
    report = verify(path, net)
    assert report.passed and report.precision == precision and not report.rounding  # an engine shows no spikes
    assert f"against the same {precision} weights" in report.sentence()


def kernels(model: Model) -> list[tuple[str, str]]:
    """What OpenVINO compiled: (the names of our nodes in a kernel, the precision it computes in), of each kernel."""
    model.session(1)
    compiled = model.engine._compile_for_rows(1)  # type: ignore[attr-defined]
    about = [op.get_rt_info() for op in compiled.get_runtime_model().get_ordered_ops()]
    return [(info["originalLayersNames"].astype(str), info["runtimePrecision"].astype(str)) for info in about]


def products(found: list[tuple[str, str]]) -> dict[str, str]:
    """Layer -> the precision of the kernel that holds its product.

    OpenVINO labels a kernel of 8-bit numbers i8 or u8: which of the two depends on the processor.
    """
    labels = {"f32": "float32", "i8": "int8", "u8": "int8"}
    return {
        name.partition("/")[0]: labels.get(label, label)
        for names, label in found
        for name in names.split(",")
        if name.endswith(("/Conv", "/Gemm")) or "/Gemm/" in name
    }


def test_every_kernel_runs_in_the_precision_that_was_asked_for(plain: Path, tmp_path: Path) -> None:
    """Left alone, OpenVINO takes bfloat16 where the processor has it."""
    full = kernels(runtime.load(plain))
    assert products(full) == dict.fromkeys(("conv1", "conv2", "fc1", "fc2"), "float32")
    assert "bf16" not in {label for _, label in full}
    if (
        platform.machine() == "x86_64"
    ):  # the first layer reads counts of events, which have no bound: it stays in float32
        low = kernels(runtime.load(exported(tmp_path, "i_openvino", precision="int8")))
        assert products(low) == {"conv1": "float32", "conv2": "int8", "fc1": "int8", "fc2": "int8"}


@pytest.fixture(scope="module", params=[{}, STATEFUL], ids=["explicit", "stateful"])
def model(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Model:
    return runtime.load(exported(tmp_path_factory.mktemp("folders"), options=request.param), rates=True)


@pytest.fixture(scope="module")
def x() -> np.ndarray:
    return frames(firing(), np.random.default_rng(8), T=12, streams=4)


def test_streams_rows_reset_and_snapshot_hold_with_states_outside_and_inside(model: Model, x: np.ndarray) -> None:
    together = model.session(streams=4)
    y = together.run(x)
    assert y.sum() > 3
    for i in range(4):
        alone = model.session()
        np.testing.assert_allclose(alone.run(x[:, i : i + 1]), y[:, i : i + 1], atol=1e-6)
        for mine, other in zip(alone.snapshot(), together.snapshot(i), strict=True):
            np.testing.assert_allclose(mine, other, atol=1e-5)
    moment = together.snapshot(1)
    after = together.run(x[:3])
    together.restore(moment, row=0)
    together.reset([2])
    again = together.run(x[:3][:, [1, 1, 2, 3]])
    np.testing.assert_allclose(again[:, 0], after[:, 1], atol=1e-6)
    np.testing.assert_allclose(again[:, 2], y[:3, 2], atol=1e-6)
    rowwise = model.session(streams=4)
    for t in range(6):
        np.testing.assert_allclose(rowwise.step(x[t, [3, 1]], rows=[3, 1]), y[t, [3, 1]], atol=1e-6)
    assert list(rowwise.steps) == [0, 6, 0, 6] and not rowwise.snapshot(0)[0].any()


def test_firing_rates_are_those_of_onnx_runtime(model: Model, x: np.ndarray, tmp_path: Path) -> None:
    session = model.session(streams=4)
    reference = runtime.load(export(firing(), tmp_path / "m.onnx").path, rates=True).session(streams=4)
    for x_t in x:
        session.step(x_t)
        reference.step(x_t)
        for layer, rates in reference.last_rates.items():
            np.testing.assert_allclose(session.last_rates[layer], rates, atol=1e-6)


def test_the_same_model_gives_the_same_bytes_and_states_inside_are_said_in_the_card(tmp_path: Path) -> None:
    first, second = (export(firing(), tmp_path / f"{n}_openvino", to="openvino") for n in "ab")
    assert first.sha256 == second.sha256
    card = read_card(first.path)
    assert card["target"] == "openvino" and card["stateful"] is False and card["parity"]["passed"]
    runtime.load(first.path, sha256=first.sha256)
    with pytest.raises(PlifError, match="the file is another one, or was changed"):
        runtime.load(first.path, sha256="0" * 64)
    assert read_card(exported(tmp_path, options=STATEFUL))["stateful"] is True


def test_membranes_fade_to_zero_and_not_into_subnormal_numbers(tmp_path: Path) -> None:
    spikingjelly = pytest.importorskip("spikingjelly.activation_based.neuron")
    net = nn.Sequential(nn.Linear(8, 16, bias=False), spikingjelly.ParametricLIFNode()).eval()
    with torch.no_grad():
        net[0].weight.mul_(6)  # type: ignore[operator]
    path = export(net, tmp_path / "m_openvino", torch.zeros(1, 8), to="openvino").path

    def left(flush: bool) -> np.ndarray:
        session = runtime.load(path, flush_denormals=flush).session()
        session.step(np.ones((1, 8), np.float32))
        for _ in range(130):
            session.step(np.zeros((1, 8), np.float32))
        return session.snapshot()[0]

    assert not left(True).any()
    faded = np.abs(left(False))
    assert faded.any() and faded.max() < np.finfo(np.float32).tiny


# --- what must fail ---------------------------------------------------------------------------------------------------


def broken(path: Path, where: Path, change: Callable[[Any], Any]) -> Path:
    """A copy of the folder with another network in it, and a card that says so."""
    network = ov.Core().read_model(path / "model.xml")
    network = change(network) or network
    path = Path(shutil.copytree(path, where / "broken_openvino"))
    ov.save_model(network, path / "model.xml", compress_to_fp16=False)
    card = json.loads((path / "card.json").read_text())
    write_digest(card, read_openvino(path))
    (path / "card.json").write_text(json.dumps(card))
    return path


def replace_constant(network: Any, reader: str, change: Callable[[np.ndarray], np.ndarray]) -> Any:
    """Replaces the single number that the node making tensor `reader` reads."""
    node = next(op for op in network.get_ordered_ops() if any(reader in port.get_names() for port in op.outputs()))
    for port in node.inputs():
        source = port.get_source_output().get_node()
        if source.get_type_name() == "Constant" and source.get_data().size == 1:
            new = ov.opset8.constant(change(source.get_data().astype(np.float32).copy()))
            port.replace_source_output(new.output(0))
            return network
    raise AssertionError(f"{reader} reads no single number")


def swapped_inputs(network: Any) -> None:
    a, b = (next(port for port in network.inputs if f"v.conv{i}" in port.get_names()) for i in (1, 2))
    a.get_tensor().set_names({"v.conv2"})
    b.get_tensor().set_names({"v.conv1"})


def frozen(network: Any) -> Any:
    result = next(port for port in network.outputs if "v.fc1.next" in port.get_names()).get_node()
    source = result.input(0).get_source_output()
    zero = ov.opset8.multiply(source, ov.opset8.constant(np.float32(0)))
    source.get_tensor().set_names(source.get_names() - {"v.fc1.next"})
    zero.output(0).get_tensor().set_names({"v.fc1.next"})
    result.input(0).replace_source_output(zero.output(0))
    return network


@pytest.mark.parametrize("form", ("step", "unrolled"))
@pytest.mark.parametrize(
    ("layer", "change"),
    [
        ("conv1", swapped_inputs),
        ("fc1", frozen),
        ("conv2", "tau"),
        ("conv2", "weight"),
        ("fc2", "reset threshold"),
        ("output", "spike threshold"),
    ],
    ids=("swapped states", "frozen state", "wrong tau", "one weight", "reset threshold", "spike threshold"),
)
def test_a_folder_that_does_something_else_is_caught_and_the_layer_named(
    same_shapes: dict[str, Path], tmp_path: Path, layer: str, change: Any, form: str
) -> None:
    tag = ".t0" if form == "unrolled" else ""

    def one_more(weight: np.ndarray) -> np.ndarray:
        weight[3, 2, 1, 1] += 0.01
        return weight

    changes: dict[str, Callable[[Any], Any]] = {
        "tau": lambda n: replace_constant(n, f"conv2.leaked{tag}", lambda keep: keep * 0.98),
        "weight": lambda n: weight_of(n, "conv2.weight", one_more),
        "reset threshold": lambda n: replace_constant(n, f"fc2.keeps{tag}", lambda th: th * 1.001),
        "spike threshold": lambda n: replace_constant(n, f"fc2.fires{tag}", lambda th: th * 1.001),
    }
    path = broken(same_shapes[form], tmp_path, changes[change] if isinstance(change, str) else change)
    # a threshold that is wrong by 0.001 shows in the numbers of most seeds, in those of 0; the structure shows it always
    report = verify(path, firing(SAME_SHAPES), structure="ignored", seed=0)
    assert not report.passed and report.failed_at is not None
    assert report.failed_at["layer"] == layer and "engine openvino" in report.failed_at["what"]
    report = verify(path, firing(SAME_SHAPES))
    assert not report.passed and report.structure


def weight_of(network: Any, name: str, change: Callable[[np.ndarray], np.ndarray]) -> None:
    for op in network.get_ordered_ops():
        if op.get_friendly_name() == name:
            new = ov.opset8.constant(change(op.get_data().copy()))
            for port in list(op.output(0).get_target_inputs()):
                port.replace_source_output(new.output(0))
            return
    raise AssertionError(f"no constant {name}")


def test_a_wrong_scale_of_int8_weights_is_caught(tmp_path: Path) -> None:
    net = firing()
    path = exported(tmp_path, net=net, precision="int8")
    report = verify(broken(path, tmp_path, lambda n: weight_of(n, "conv2.scale", lambda scale: scale * 1.02)), net)
    assert not report.passed and report.failed_at is not None and report.failed_at["layer"] == "conv2"


@pytest.mark.parametrize("options", ({}, STATEFUL), ids=str)
def test_another_reset_or_a_lost_initial_value_is_caught(tmp_path: Path, options: dict[str, str]) -> None:
    net = firing(v_reset=-0.25)
    path = exported(tmp_path, net=net, options=options)
    other = firing()
    wrong = export(net, tmp_path / "other_openvino", to="openvino", options=options).path
    card = json.loads((wrong / "card.json").read_text())
    card["states"][1]["initial"] = 0.0
    (wrong / "card.json").write_text(json.dumps(card))
    report = verify(wrong, net)
    assert not report.passed and report.failed_at is not None
    assert report.failed_at["what"].startswith(
        "engine openvino: starts at 0, the model at -0.25; card states v.conv2 initial"
    )
    assert not verify(path, other).passed  # the same weights, reset to 0


def test_an_engine_that_fails_the_gate_leaves_nothing_behind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from runtime.engines.openvino_ir.engine import OpenVinoEngine

    class Another(OpenVinoEngine):
        def bind(
            self, x: np.ndarray, v: Arrays, y: np.ndarray, v_next: Arrays, rates: Rates = None
        ) -> Callable[[], None]:
            run = super().bind(x, v, y, v_next, rates)

            def wrong() -> None:
                run()
                v_next[1][...] *= 1.01

            return wrong

    add_engines(monkeypatch, Another)
    with pytest.raises(ParityError, match=r"engine openvino.*nothing was written"):
        export(firing(), tmp_path / "m_openvino", to="openvino")
    assert list(tmp_path.iterdir()) == []


def test_what_is_no_folder_of_ours_is_refused_in_one_line(plain: Path, tmp_path: Path) -> None:
    def refused(message: str, change: Callable[[Path], object], file: str = "") -> None:
        copy = tmp_path / "copy"
        shutil.rmtree(copy, ignore_errors=True)
        shutil.copytree(plain, copy)
        change(copy / file)
        with pytest.raises(PlifError, match=message) as error:
            runtime.load(copy)
        assert "\n" not in str(error.value)

    refused("card.json: no such file", Path.unlink, "card.json")
    refused("model.bin: no such file", Path.unlink, "model.bin")
    refused("is a folder, and no artifact", Path.unlink, "model.xml")
    refused("its card is not valid JSON", lambda f: f.write_text("{"), "card.json")
    refused("is not text", lambda f: f.write_bytes(b"\xff\xfe"), "card.json")
    refused("format 'None'", lambda f: f.write_text("{}"), "card.json")
    for file in ("model.xml", "model.bin"):
        refused(f"{file} was changed since the export", lambda f: f.write_bytes(f.read_bytes()[:-9]), file)

    def edit(f: Path, **changes: Any) -> None:
        f.write_text(json.dumps({**json.loads(f.read_text()), **changes}))

    refused("card was changed since the export", lambda f: edit(f, classes=["a", "b", "other"]), "card.json")
    refused("y is \\[-1, 3\\] in model.xml", lambda f: edit(f, classes=["a", "b"], digest=None), "card.json")
    with pytest.raises(PlifError, match="device 'cuda:0'; this engine runs on cpu only"):
        runtime.load(plain, device="cuda:0")
    with pytest.raises(PlifError, match=r"opens what ends in _openvino.*--to openvino"):
        runtime.load(export(firing(), tmp_path / "m.onnx").path, engine="openvino")
    with pytest.raises(PlifError, match=r"engine 'onnxruntime' opens what ends in \.onnx"):
        runtime.load(plain, engine="onnxruntime")


def test_damaged_networks_with_a_card_that_fits_them_are_refused_too(plain: Path, tmp_path: Path) -> None:
    """The digest is no signature: whoever edits model.xml can edit the card."""
    path = Path(shutil.copytree(plain, tmp_path / "m_openvino"))
    text = (path / "model.xml").read_bytes()
    card = json.loads((path / "card.json").read_text())
    for xml in (b"", b"<net>", text[: len(text) // 2], text.replace(b'offset="', b'offset="9'), b"\x00" * 100):
        (path / "model.xml").write_bytes(xml)
        write_digest(card, read_openvino(path))
        (path / "card.json").write_text(json.dumps(card))
        with pytest.raises(PlifError) as error:
            runtime.load(path).session()
        assert "\n" not in str(error.value)


@pytest.mark.parametrize("kind", ("Loop", "TensorIterator", "If"))
def test_a_network_with_a_loop_which_might_have_no_end_is_refused(plain: Path, tmp_path: Path, kind: str) -> None:
    path = Path(shutil.copytree(plain, tmp_path / "m_openvino"))
    text = (path / "model.xml").read_text()
    (path / "model.xml").write_text(
        text.replace("<layers>", f'<layers><layer id="999" name="turn" type="{kind}" />', 1)
    )
    with pytest.raises(PlifError, match=f"m_openvino: layer turn is a {kind}, which plif does not write"):
        runtime.load(path)


def test_options_are_checked_before_any_work(tmp_path: Path) -> None:
    for options, precision, message in (
        ({"stateful": "maybe"}, "fp32", "--set stateful=maybe: expected true or false"),
        ({"bf16": "true"}, "fp32", "--set bf16: --to openvino has no such option; it has stateful"),
        (STATEFUL, "int8", "cannot compile int8 with the states inside"),
        ({}, "bf16", "--precision bf16: --to openvino writes fp32, fp16, int8"),
    ):
        with pytest.raises(PlifError, match=message):
            export(firing(), tmp_path / "m_openvino", to="openvino", options=options, precision=precision)
    assert list(tmp_path.iterdir()) == []


def test_the_card_of_a_folder_is_read_without_openvino_or_torch(plain: Path) -> None:
    code = (
        "import sys; from runtime.core.cli.main import run; code = run(['info', sys.argv[1], '--json']); "
        "assert not {'openvino', 'torch', 'onnx', 'onnxruntime'} & set(sys.modules), set(sys.modules); sys.exit(code)"
    )
    done = subprocess.run([sys.executable, "-c", code, str(plain)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["target"] == "openvino"


def test_evaluating_streaming_and_timing_take_the_folder(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from runtime.core.cli.main import run

    model = Path(__file__).parents[4] / "models" / "nmnist-digits.pt"
    folder, file = (
        export(model, tmp_path / f"d{end}", to=to, verify=False).path
        for end, to in (("_openvino", "openvino"), (".onnx", "onnx"))
    )

    def printed(*arguments: str) -> list[Any]:
        assert run([*arguments, "--json"]) == 0
        out = capsys.readouterr().out
        try:
            return [json.loads(out)]
        except json.JSONDecodeError:
            return [json.loads(line) for line in out.splitlines()]

    ours, theirs = (printed("eval", str(path), "--data", "digits:12", "--limit", "12")[0] for path in (folder, file))
    assert ours["engine"] == "openvino" and ours["confusion"] == theirs["confusion"]
    assert ours["firing_rates"] == pytest.approx(theirs["firing_rates"], abs=1e-4)
    *decisions, last = printed("stream", str(folder), "sim:digits?seed=1")
    assert [d["votes"] for d in decisions] == [
        d["votes"] for d in printed("stream", str(file), "sim:digits?seed=1")[:-1]
    ]
    assert last["summary"]["frames"] == len(decisions) == 10
    (rows,) = printed("bench", str(folder), str(file), "--seconds", "0.1")
    assert (
        rows[0]["engine"] == "openvino"
        and rows[1]["engine"] in ("event", "onnxruntime")
        and all(row["p50_ms"] > 0 for row in rows)
    )
    for command in (["info"], ["check"], ["verify", "--against", str(model), "--steps", "5"]):
        assert run([command[0], str(folder), *command[1:]]) == 0
    assert "engine openvino: 10 steps" in capsys.readouterr().out
