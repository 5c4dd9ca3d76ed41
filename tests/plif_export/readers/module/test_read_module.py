"""Any live module: what is traced comes through with a proof, what cannot be is refused where it is, before any file."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron, surrogate
from spikingjelly.activation_based.model import parametric_lif_net, sew_resnet
from torch import Tensor, nn

import runtime
from plif_export import check, export, register_layer, register_neuron, verify
from plif_export.core.cards import make_card
from plif_export.core.passes import run_passes
from plif_export.core.prove import prove
from plif_export.core.readers import read_model
from plif_export.core.readers.facts import TrainedModel
from plif_export.core.writers import FORMS
from plif_export.readers.libraries import layers
from plif_export.readers.libraries import neurons as neuron_modules
from plif_train.core.network.layers import Vote
from plif_train.core.network.neuron import Neuron
from runtime.core.base.errors import PlifError
from runtime.core.model import neurons
from runtime.core.model.card import read_card
from runtime.core.model.graph import Graph, Node
from runtime.core.model.neurons import Equation
from tests.conftest import crossed
from tests.foreign import events, scale_to_threshold
from tests.plif_export.core.unseen_state import Net


def IF() -> nn.Module:
    return neuron.IFNode(surrogate_function=surrogate.ATan())


class Residual(nn.Module):
    """Blocks as SEW-ResNet has them: several inputs to a node, plain Python between layers."""

    def __init__(self, join: Callable[[Tensor, Tensor], Tensor], channels: int = 8) -> None:
        super().__init__()
        self.stem = nn.Sequential(layer.Conv2d(2, 8, 3, padding=1, bias=False), layer.BatchNorm2d(8), IF())
        self.block = nn.Sequential(layer.Conv2d(8, 8, 3, padding=1, groups=4), layer.BatchNorm2d(8), IF())
        self.after = layer.Conv2d(channels, 12, (3, 5), stride=(2, 1), padding=(1, 2), dilation=1)
        self.neurons = nn.ModuleList([neuron.LIFNode(tau=3.0), neuron.ParametricLIFNode(v_reset=None)])
        self.fc = layer.Linear(12 * 4, 5)
        self.join = join

    def forward(self, x: Tensor) -> Tensor:
        x = self.stem(x)
        x = self.join(x, self.block(x))
        x = self.neurons[0](self.after(x))
        x = nn.functional.avg_pool2d(x, 4)
        return self.neurons[1](self.fc(x.flatten(1)))


JOINS: dict[str, tuple[Callable[[Tensor, Tensor], Tensor], int]] = {
    "add": (lambda a, b: a + b, 8),
    "and": (lambda a, b: a * b, 8),
    "iand": (lambda a, b: a * (1.0 - b), 8),
    "concat": (lambda a, b: torch.cat((a, b), dim=1), 16),
    "weighted": (lambda a, b: torch.add(a * 0.5, b / 4) + 0.25, 8),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize(("join", "form"), crossed(list(JOINS), ("step", "unrolled")))
def test_residual_joins_come_through(tmp_path: Path, join: str, form: str) -> None:
    net = scale_to_threshold(Residual(*JOINS[join]), (2, 16, 8))
    result = export(net, tmp_path / "m.onnx", torch.zeros(1, 2, 16, 8), form=form, T=4)
    assert result.passed and result.verify is not None and result.verify.untested == []
    assert result.verify.spikes > 1_000


def narrow(net: nn.Module, by: int = 4) -> nn.Module:
    """The same graph with 1 / `by` of the channels, and new weights; inputs of three channels and the classes stay."""
    for owner in list(net.modules()):
        for name, old in list(owner.named_children()):
            new: nn.Module = old
            if isinstance(old, layer.Conv2d):
                channels = [max(n // by, 3) for n in (old.in_channels, old.out_channels)]
                new = layer.Conv2d(*channels, old.kernel_size, old.stride, old.padding, bias=old.bias is not None)  # type: ignore[arg-type]
            elif isinstance(old, nn.BatchNorm2d):
                new = layer.BatchNorm2d(old.num_features // by)
            elif isinstance(old, nn.Linear):
                new = layer.Linear(old.in_features // by, old.out_features)
            setattr(owner, name, new)
    return net


@pytest.mark.large
@pytest.mark.parametrize(
    ("cnf", "kind"),
    [
        pytest.param("ADD", "static", marks=pytest.mark.large),
        ("AND", "events"),
        pytest.param("IAND", "events", marks=pytest.mark.large),
    ],
)
def test_a_sew_resnet18_comes_through_with_plain_python_around_it(tmp_path: Path, cnf: str, kind: str) -> None:
    class Around(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            with torch.device("meta"):  # its eleven million weights are not needed
                full = sew_resnet.sew_resnet18(
                    cnf=cnf, spiking_neuron=neuron.IFNode, num_classes=4, surrogate_function=surrogate.ATan()
                )
            self.net = narrow(full)

        def forward(self, x: Tensor) -> Tensor:
            if x.dim() > 5:
                raise ValueError("not an image")
            return self.net(x * 2.0)  # type: ignore[no-any-return]

    torch.manual_seed(0)
    net = scale_to_threshold(Around(), (3, 32, 32))
    functional.set_step_mode(net, "m")
    form = "unrolled" if kind == "static" else "step"
    result = export(net, tmp_path / "m.onnx", torch.zeros(1, 3, 32, 32), kind=kind, form=form, T=3)
    assert result.passed and result.verify is not None and result.verify.spikes > 10_000
    assert len(result.verify.layers) == 20


def test_an_untouched_spikingjelly_network_keeps_its_own_forward(tmp_path: Path) -> None:
    """In multi-step mode, as it was trained; the file steps, and gives what the module gives over all T at once."""
    torch.manual_seed(0)
    net = parametric_lif_net.NMNISTNet(
        channels=6, spiking_neuron=neuron.ParametricLIFNode, surrogate_function=surrogate.ATan()
    )
    scale_to_threshold(net, (2, 34, 34))
    functional.set_step_mode(net, "m")
    functional.reset_net(net)
    path = export(net, tmp_path / "m.onnx", torch.zeros(1, 2, 34, 34), framing="count:T=20").path
    x = events(8, 2, (2, 34, 34))
    assert net.conv_fc[2].step_mode == "m" and net.conv_fc[2].v == 0.0  # the module itself was not touched
    with torch.no_grad():
        expected = net(torch.from_numpy(x)).numpy()
    np.testing.assert_allclose(runtime.load(path).session(2).run(x), expected, atol=1e-6)
    card = read_card(path)
    assert card["output"] == {"kind": "votes", "voters": 10} and card["T"] == 20
    assert [s["name"] for s in card["states"]] == [f"v.conv_fc_{i}" for i in (2, 6, 11, 14)]
    assert verify(path, net, x).passed


@pytest.mark.large
def test_an_untouched_dvs_gesture_net_exports_at_full_size(tmp_path: Path) -> None:
    net = parametric_lif_net.DVSGestureNet(spiking_neuron=neuron.ParametricLIFNode, surrogate_function=surrogate.ATan())
    scale_to_threshold(net, (2, 128, 128), steps=2)
    functional.set_step_mode(net, "m")
    result = export(net, tmp_path / "m.onnx", torch.zeros(1, 2, 128, 128))
    assert result.passed and result.verify is not None and result.verify.spikes > 1_000_000


def test_vectors_sequences_pools_and_votes_come_through(tmp_path: Path) -> None:
    class Sequences(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv = nn.Sequential(nn.Conv1d(2, 8, 5, stride=2, padding=2), nn.BatchNorm1d(8), IF(), nn.MaxPool1d(2))
            self.fc = nn.Sequential(nn.Flatten(), nn.Dropout(0.5), nn.Linear(40, 30), IF())
            self.boost = nn.AvgPool1d(10, 10)

        def forward(self, x: Tensor) -> Tensor:
            return self.boost(self.fc(self.conv(x)).unsqueeze(1)).squeeze(1)  # type: ignore[no-any-return]

    net = scale_to_threshold(Sequences(), (2, 20))
    result = export(net, tmp_path / "m.onnx", torch.zeros(1, 2, 20))
    assert result.passed and result.verify is not None and result.verify.untested == []
    assert read_card(result.path)["output"] == {"kind": "votes", "voters": 10}
    pools = nn.Sequential(
        nn.Conv2d(2, 8, 3, padding="same", dilation=2), IF(), nn.AvgPool2d(3, 2, 1), nn.Conv2d(8, 8, 1), IF(),
        nn.MaxPool2d(3, 1, 1), nn.AdaptiveAvgPool2d((2, 2)), nn.Conv2d(8, 8, 1), IF(), nn.AdaptiveAvgPool2d(1),
        nn.Flatten(), nn.Linear(8, 3), IF(),
    )  # fmt: skip
    result = export(scale_to_threshold(pools, (2, 12, 12)), tmp_path / "p.onnx", torch.zeros(1, 2, 12, 12))
    assert result.passed and result.verify is not None and result.verify.untested == []
    vector = nn.Sequential(nn.Linear(7, 20), IF(), nn.Linear(20, 3), IF())
    path = export(scale_to_threshold(vector, (7,)), tmp_path / "v.onnx", torch.zeros(1, 7), form="unrolled", T=3).path
    assert runtime.load(path).session(2).run(events(6, 2, (7,))).shape == (6, 2, 3)
    with pytest.raises(PlifError, match=r"takes inputs of shape \[7\], not frames"):
        runtime.load(path).input_shape  # noqa: B018


class Still(nn.Module):
    """A current that comes from the image alone joins one that comes from spikes."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.again, self.fc = (
            nn.Conv2d(1, 4, 3, padding=1),
            nn.Conv2d(4, 4, 3, padding=1),
            nn.Linear(4 * 36, 20),
        )
        self.neurons = nn.ModuleList([Neuron("PLIF", channels=4), Neuron("LIF", v_reset=None), Neuron("IF")])
        self.vote = Vote(10)

    def forward(self, x: Tensor) -> Tensor:
        current = self.conv(x)
        s = self.neurons[1](current + self.again(self.neurons[0](current)))
        return self.vote(self.neurons[2](self.fc(s.reshape(s.shape[0], -1))))  # type: ignore[no-any-return]


@pytest.mark.parametrize("math", ("exact", "folded"))
def test_a_still_image_joins_spikes_in_the_unrolled_form(tmp_path: Path, math: str) -> None:
    net = scale_to_threshold(Still(), (1, 6, 6))
    result = export(net, tmp_path / "m.onnx", torch.zeros(1, 1, 6, 6), kind="static", form="unrolled", T=5, math=math)
    assert result.passed and result.verify is not None and result.verify.untested == []
    step = export(net, tmp_path / "s.onnx", torch.zeros(1, 1, 6, 6), kind="static", T=5, math=math)
    image = np.random.default_rng(0).random((3, 1, 6, 6), np.float32)
    np.testing.assert_array_equal(
        runtime.load(result.path).session(3).run(image), runtime.load(step.path).session(3).run(image)
    )


class Shared(nn.Module):
    """One convolution that a normalisation and a neuron read: nothing may be folded into it."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.bn, self.fc = nn.Conv2d(2, 4, 3), nn.BatchNorm2d(4), nn.Linear(8 * 36, 5)
        self.neurons = nn.ModuleList([Neuron("PLIF", init_tau=3.0), Neuron("PLIF", v_reset=-0.2), Neuron("LIF")])

    def forward(self, x: Tensor) -> Tensor:
        current = self.conv(x)
        both = torch.cat((self.neurons[0](self.bn(current)), self.neurons[1](current)), dim=1)
        return self.neurons[2](self.fc(both.flatten(1)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("math", ("exact", "folded"))
def test_a_layer_that_several_others_read_is_left_as_it_is(tmp_path: Path, math: str) -> None:
    torch.manual_seed(0)
    net = scale_to_threshold(Shared(), (2, 8, 8))
    with torch.no_grad():
        net.bn.running_mean.add_(0.3)
    result = export(net, tmp_path / "m.onnx", torch.zeros(1, 2, 8, 8), math=math)
    assert result.passed and result.verify is not None and result.verify.untested == []


CHANGES: dict[str, tuple[str, Callable[[Node], Node]]] = {
    "join": ("add", lambda node: node.with_(op="Mul")),
    "order": ("cat", lambda node: node.with_(inputs=node.inputs[::-1])),
    "kernel": ("after", lambda node: node.with_(params={**node.params, "weight": node.params["weight"][..., ::-1]})),
    "tau": ("neurons_0", lambda node: node.with_(attrs={**node.attrs, "tau": 3.03})),
    "reset": ("neurons_1", lambda node: node.with_(attrs={**node.attrs, "v_reset": 0.0})),
}


@pytest.mark.one_in(2)
@pytest.mark.parametrize("change", CHANGES)
def test_the_gate_catches_a_graph_that_was_read_wrongly(change: str) -> None:
    name, edit = CHANGES[change]
    net = scale_to_threshold(Residual(*JOINS["concat" if name == "cat" else "add"]), (2, 16, 8))
    source = read_model(net, torch.zeros(1, 2, 16, 8))
    report = prove(*written(source, source.graph.replace_nodes({name: edit(source.graph[name])})), source)
    assert not report.passed
    assert prove(*written(source, source.graph), source).passed


def written(source: TrainedModel, graph: Graph) -> tuple[Any, dict[str, Any]]:
    graph = run_passes(graph, "exact", static=False)
    facts: dict[str, Any] = {"form": "step", "T": 1, "precision": "fp32", "math": "exact", "batch": None}
    return FORMS["step"](graph, 1, None), make_card(source.facts, graph, **facts, source_sha256=None)


def test_many_step_containers_become_single_steps(tmp_path: Path) -> None:
    net = nn.Sequential(
        layer.SeqToANNContainer(nn.Conv2d(2, 8, 3), nn.BatchNorm2d(8)), layer.MultiStepContainer(IF()),
        layer.SeqToANNContainer(nn.Flatten(), nn.Linear(8 * 36, 4)), IF(),
    )  # fmt: skip
    functional.set_step_mode(net[3], "m")
    assert export(net, tmp_path / "m.onnx", torch.zeros(1, 2, 8, 8), T=3, form="unrolled").passed


# --- what is refused ------------------------------------------------------------------------------------------------------


class KeepsState(nn.Module):
    def __init__(self) -> None:
        super().__init__()
        self.fc = nn.Linear(4, 3)
        self.neuron = IF()
        self.mem: Any = 0.0

    def forward(self, x: Tensor) -> Tensor:
        self.mem = 0.5 * self.mem + self.fc(x)
        return self.neuron(self.mem)  # type: ignore[no-any-return]


class KeepsStateInAList(KeepsState):
    def forward(self, x: Tensor) -> Tensor:
        self.past: list[Tensor] = [*getattr(self, "past", []), self.fc(x)][-2:]
        return self.neuron(self.past[0])  # type: ignore[no-any-return]


class Counts(KeepsState):
    """A state that no trace can see: a number that changes what the layers do."""

    def __init__(self) -> None:
        super().__init__()
        with torch.no_grad():
            self.fc.weight.copy_(torch.tensor([0.02, 0.1, 0.2])[:, None])
            self.fc.bias.zero_()

    def forward(self, x: Tensor) -> Tensor:
        self.mem += 1
        return self.neuron(self.fc(x) if self.mem < 4 else 2 * self.fc(x))  # type: ignore[no-any-return]


class Twice(KeepsState):
    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(self.neuron(self.fc(x)))  # type: ignore[no-any-return]


class Decides(KeepsState):
    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(self.fc(x) if x.sum() > 0 else self.fc(-x))  # type: ignore[no-any-return]


class Subtracts(KeepsState):
    def forward(self, x: Tensor) -> Tensor:
        return self.neuron(self.fc(x) - self.fc(x / 4))  # type: ignore[no-any-return]


class WeightStandardised(nn.Conv2d):
    def forward(self, x: Tensor) -> Tensor:
        return nn.functional.conv2d(x, self.weight - self.weight.mean(), self.bias)


def chain(*modules: nn.Module, end: bool = True) -> nn.Module:
    return nn.Sequential(*modules, *([nn.Flatten(), nn.Linear(4, 3), IF()] if end else []))


ACCEPTED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], list[str]]] = {
    "state": (KeepsState, (4,), ["Traced", "IF"]),  # an integrator of one's own before a neuron
    "twice": (Twice, (4,), ["Traced"]),  # both calls are one program, which no kind has operation by operation
    "subtracts": (Subtracts, (4,), ["IF"]),
    "relu": (lambda: chain(nn.Linear(4, 4), nn.ReLU()), (4,), ["IF"]),
    "subclass": (lambda: chain(WeightStandardised(1, 1, 1)), (1, 2, 2), ["IF"]),
    "qif": (lambda: chain(nn.Linear(4, 4), neuron.QIFNode()), (4,), ["Traced", "IF"]),
    "adaptive": (lambda: chain(nn.Conv2d(1, 1, 1), IF(), nn.AdaptiveAvgPool2d(2)), (1, 3, 3), ["IF", "IF"]),
}


@pytest.mark.parametrize("case", ACCEPTED)
def test_what_no_table_knows_is_exported_as_it_was_written(tmp_path: Path, case: str) -> None:
    torch.manual_seed(0)
    make, shape, kinds = ACCEPTED[case]
    net = make()
    with torch.no_grad():
        for part in net.modules():
            if isinstance(part, nn.Linear | nn.Conv2d):
                part.weight.abs_().mul_(2)
    result = export(net, tmp_path / "m.onnx", torch.zeros(1, *shape))
    assert result.passed
    assert [n.attrs["kind"] for n in read_model(net, torch.zeros(1, *shape)).graph.neurons] == kinds


REFUSED: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], str]] = {
    "list": (KeepsStateInAList, (4,), r"fc \(Linear\): its state starts from the first input"),
    "counts": (Counts, (4,), r"forward \(Counts\): one step does .* where the next does"),
    "decides": (Decides, (4,), r"forward \(Decides\): its Python looks at values of tensors"),
    "lstm": (lambda: chain(nn.LSTM(4, 4)), (4,), r"1 \(Flatten\): it fails on one time-step"),
    "softplus": (lambda: chain(nn.Linear(4, 4), nn.Softplus()), (4,), r"1 \(Softplus\): softplus\(\) is not exported"),
    "gating": (lambda: chain(nn.Linear(4, 4), neuron.GatedLIFNode(T=4)), (4,), r"1 \(GatedLIFNode\)"),
    "soft-surrogate": (
        lambda: chain(nn.Linear(4, 4), neuron.IFNode(surrogate_function=surrogate.Sigmoid(spiking=False))),
        (4,),
        r"1 \(IFNode\): its surrogate_function gives",
    ),
    "ceil": (lambda: chain(nn.AvgPool2d(2, ceil_mode=True)), (1, 3, 3), r"0 \(AvgPool2d\): ceil_mode=True"),
    "same": (lambda: chain(nn.Conv2d(1, 1, 2, padding="same")), (1, 2, 2), r"padding 'same' with an even kernel"),
    "pad": (lambda: chain(nn.ConstantPad2d(1, 0.5), nn.AvgPool2d(2)), (1, 2, 2), r"it pads with 0\.5; pad with zeros"),
    "crop": (lambda: chain(nn.ZeroPad2d(-1)), (1, 4, 4), r"0 \(ZeroPad2d\): it pads by \[-1, -1, -1, -1\]; take a part"),
    "bn": (lambda: chain(nn.BatchNorm2d(1, track_running_stats=False)), (1, 2, 2), "no running statistics"),
    "nothing": (lambda: chain(nn.Linear(4, 4), end=False), (4,), "no spiking neuron"),
    "double": (lambda: chain(nn.Linear(4, 4)).double(), (4,), "not float32"),
    "shape": (lambda: chain(nn.Linear(5, 4)), (4,), r"0 \(Linear\): it fails on one time-step"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_not_supported_is_refused_where_it_is_and_check_says_the_same(tmp_path: Path, case: str) -> None:
    torch.manual_seed(0)
    make, shape, message = REFUSED[case]
    example = torch.zeros(1, *shape)
    with pytest.raises(PlifError, match=message) as refused:
        export(make(), tmp_path / "m.onnx", example)
    assert "\n" not in str(refused.value) and list(tmp_path.iterdir()) == []
    if case != "counts":  # seen only when it runs
        report = check(make(), example)
        assert not report.supported and str(refused.value).startswith(report.problems[0])


def test_check_lists_every_layer_and_every_problem() -> None:
    net = nn.Sequential(nn.Conv2d(1, 1, 1), IF(), nn.Mish(), nn.Softplus(), nn.Flatten(), nn.Linear(4, 2), IF())
    report = check(net, torch.zeros(1, 1, 2, 2))
    assert [(layer.path, layer.supported) for layer in report.layers] == [
        ("0", True), ("1", True), ("2", False), ("3", False), ("4", True), ("5", True), ("6", True),
    ]  # fmt: skip
    assert len(report.problems) == 2 and report.to_dict()["supported"] is False
    assert check(chain(nn.Linear(4, 4)), torch.zeros(1, 4)).supported


def test_a_module_needs_an_example_and_as_many_classes_as_outputs(tmp_path: Path) -> None:
    with pytest.raises(PlifError, match="give the shape of one time-step"):
        export(chain(nn.Linear(4, 4)), tmp_path / "m.onnx")
    with pytest.raises(PlifError, match="2 names for a network of 3 outputs"):
        export(chain(nn.Linear(4, 4)), tmp_path / "m.onnx", torch.zeros(1, 4), classes="a,b")


def test_a_wrong_module_is_told_from_the_right_one(tmp_path: Path) -> None:
    net = scale_to_threshold(chain(nn.Linear(4, 4)), (4,))
    path = export(net, tmp_path / "m.onnx", torch.zeros(1, 4)).path
    net[-1].v_threshold = 1.1
    assert not verify(path, net, events(20, 2, (4,))).passed


def test_the_event_engine_runs_layers_of_every_kind(tmp_path: Path) -> None:
    def differ(net: nn.Module, shape: tuple[int, ...]) -> float:
        path = export(scale_to_threshold(net, shape), tmp_path / "m.onnx", torch.zeros(1, *shape)).path
        x = events(6, 2, shape)
        found, expected = (runtime.load(path, engine=name).session(2).run(x) for name in ("event", "onnxruntime"))
        assert found.any()
        return float(np.mean(found != expected))

    conv = [nn.Conv2d(2, 8, 3), IF(), nn.Flatten(), nn.Linear(8 * 36, 4)]
    snn = pytest.importorskip("snntorch")
    networks: list[tuple[nn.Module, tuple[int, ...]]] = [
        (nn.Sequential(*conv, IF()), (2, 8, 8)),
        (nn.Sequential(*conv, neuron.LIFNode(tau=3.0)), (2, 8, 8)),
        (nn.Sequential(*conv[:2], nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4), IF()), (2, 8, 8)),
        (nn.Sequential(nn.Conv2d(2, 8, (3, 1)), IF(), nn.Flatten(), nn.Linear(8 * 48, 4), IF()), (2, 8, 8)),
        (nn.Sequential(nn.Conv2d(2, 8, 3, stride=(1, 2)), *conv[1:3], nn.Linear(8 * 18, 4), IF()), (2, 8, 8)),
        (nn.Sequential(nn.Conv2d(2, 8, 2, dilation=2), *conv[1:], IF()), (2, 8, 8)),
        (nn.Sequential(nn.MaxPool2d(3, 1, 1), *conv, IF()), (2, 8, 8)),
        (nn.Sequential(nn.Conv1d(2, 8, 3), IF(), nn.Flatten(), nn.Linear(48, 4), IF()), (2, 8)),
        (nn.Sequential(nn.Linear(6, 4), snn.Leaky(beta=0.9, init_hidden=True)), (6,)),
    ]
    for net, shape in networks:
        assert differ(net, shape) < 0.01, net


# --- a neuron and a layer of one's own ------------------------------------------------------------------------------------


class Adaptive(nn.Module):
    """A neuron whose threshold rises with each spike: two states, an equation of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.v: Any = None
        self.a: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.v is None:
            self.v, self.a = torch.zeros_like(x), torch.zeros_like(x)
        h = self.v * 0.75 + x - self.a
        s = (h >= 1.0).float()
        self.v, self.a = h - s, self.a * 0.5 + s * 0.25
        return s


class Halve(nn.Module):
    def forward(self, x: Tensor) -> Tensor:
        return torch.ldexp(x, torch.tensor(-1))


def test_a_neuron_and_a_layer_of_ones_own_are_registered_in_a_few_lines(tmp_path: Path) -> None:
    net = nn.Sequential(nn.Linear(6, 20), Adaptive(), Halve(), nn.Linear(20, 3), Adaptive())
    with pytest.raises(PlifError, match=r"2 \(Halve\).*register it"):
        export(net, tmp_path / "m.onnx", torch.zeros(1, 6))

    def adaptive(m: Any, n: Any, x: Any, state: dict[str, Any]) -> tuple[Any, Any, dict[str, Any]]:
        h = state["v"] * 0.75 + x - state["a"]
        s = m.spikes(h >= n.v_threshold)
        return h, s, {"v": h - s, "a": state["a"] * 0.5 + s * 0.25}

    start = {"v": 0.0, "a": 0.0}
    equation = Equation("Adaptive", adaptive, states=("v", "a"), initial=lambda attrs: start)
    register_neuron(
        Adaptive, equation, states={"v": "v", "a": "a"}, attrs=lambda module: {"v_threshold": 1.0, "v_reset": None}
    )
    half = {"scale": np.array(0.5, np.float32), "shift": np.array(0.0, np.float32)}
    register_layer(Halve, lambda module, shape, out: ("Affine", {}, half))
    try:
        for form in ("step", "unrolled"):
            result = export(scale_to_threshold(net, (6,)), tmp_path / "m.onnx", torch.zeros(1, 6), form=form, T=4)
            assert result.passed and result.verify is not None and result.verify.untested == []
        assert [s["name"] for s in read_card(result.path)["states"]] == ["v.1", "a.1", "v.4", "a.4"]
    finally:
        neurons.EQUATIONS.entries.pop("Adaptive")
        neuron_modules.NEURONS.pop(layers.qualified_name(Adaptive))
        layers.LAYERS.pop(layers.qualified_name(Halve))


class NothingAtTheEnd(Net):
    def __init__(self) -> None:
        super().__init__()
        self.fc2 = nn.Linear(12, 0)


class NothingWithin(Net):
    def __init__(self) -> None:
        super().__init__()
        self.none, self.again = nn.Linear(12, 0), nn.Linear(0, 12)

    def seen(self, s: Tensor) -> Tensor:
        return self.again(self.none(s))  # type: ignore[no-any-return]


@pytest.mark.parametrize("make", [NothingAtTheEnd, NothingWithin])
def test_a_layer_without_outputs_is_refused_in_one_line(make: Callable[[], Net], tmp_path: Path) -> None:
    with pytest.raises(PlifError, match=r"gives no number: its shape is \[0\]; expected at least 1") as refused:
        export(make(), tmp_path / "m.onnx", torch.zeros(1, 6))
    assert "\n" not in str(refused.value) and list(tmp_path.iterdir()) == []
