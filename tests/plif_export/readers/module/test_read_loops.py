"""Modules with the loop over T inside forward: their steps become a file, and its values, joined as forward joins them, give what
forward gives."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from spikingjelly.activation_based import functional, layer, neuron
from torch import Tensor, nn

import runtime
from plif_export import check, export, verify
from plif_export.core.options import CallerFacts
from plif_export.core.proof.reference import GraphReference
from plif_export.core.readers import read_model
from plif_export.readers.libraries import layers
from plif_export.readers.libraries import neurons as neuron_modules
from plif_export.readers.step_program.reading import ModuleReading
from plif_export.readers.tracing.copies import make_fresh_copy
from runtime.core.base.errors import PlifError
from runtime.core.model.card import read_card
from tests import loops

pytest.importorskip("snntorch")
pytest.importorskip("norse")

T = 6

# name -> (module, example, what the caller says, kinds of its neurons, how forward joins the steps)
LOOPS: dict[str, tuple[Callable[[], nn.Module], tuple[int, ...], dict[str, Any], list[str], str]] = {
    "spikingjelly-csnn": (loops.CSNN, (1, 1, 8, 8), {}, ["IF"] * 4, "mean"),
    "spikingjelly-static-conv": (loops.StaticConv, (1, 1, 8, 8), {}, ["PLIF"] * 2, "mean"),
    "spikingjelly-batch-first": (loops.BatchFirst, (1, 3, 2, 6, 6), {}, ["LIF"] * 2, "mean"),
    "spikingjelly-containers": (loops.Containers, (3, 1, 2, 6, 6), {}, ["IF", "LIF"], "sum"),
    "snntorch-spikes": (loops.Tutorial5, (1, 8), {"output": 0}, ["Leaky"] * 2, "stack"),
    "snntorch-membrane": (loops.Tutorial5, (1, 8), {"output": 1}, ["Leaky"] * 2, "stack"),
    "snntorch-others": (loops.OtherLeaky, (3, 1, 8), {}, ["Traced"] * 4, "stack"),
    "norse-mnist": (loops.NorseMNIST, (1, 1, 8, 8), {}, ["LIFCell", "LIFCell", "Traced"], "stack"),
    "norse-recurrent": (loops.NorseRecurrent, (3, 1, 8), {}, ["Traced"] * 2, "max"),
    "norse-lift": (loops.NorseLift, (3, 1, 8), {}, ["Traced"] * 2, "last"),
    "spytorch": (loops.SpyTorch, (1, 3, 8), {}, ["Traced"] * 4, "stack"),
    "ms-resnet": (loops.MSResNet, (3, 1, 2, 6, 6), {}, ["Traced"] * 2, "mean"),
    "stbp": (loops.STBP, (1, 1, 6, 6), {}, ["Traced"] * 3, "mean"),
    "spikformer": (loops.Spikformer, (1, 1, 8, 8), {}, ["LIF"] * 6, "mean"),
    "inline": (loops.Inline, (3, 1, 8), {}, ["Traced"] * 2, "mean"),
    "masked-write": (loops.MaskedWrite, (3, 1, 8), {}, ["Traced"], "sum"),
    "integrates": (loops.Integrates, (3, 1, 8), {}, ["LIF", "Traced"], "last"),
}


def lively(net: nn.Module, seed: int = 0) -> nn.Module:
    """With weights large and positive enough that its neurons fire."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for p in net.parameters():
            if p.dim() > 1:
                p.copy_(torch.randn(p.shape, generator=generator) + 0.3)
                p.mul_(2.0 / p[0].numel() ** 0.5)
    return net.eval()


def own_output(reading: ModuleReading, x: Tensor, steps: int) -> Tensor:
    """What the module itself returns over some steps, from reset."""
    with torch.no_grad(), reading.form.set_length(steps):
        out = reading.form.make_call(steps)(make_fresh_copy(reading.form.module), reading.form.arrange_input(x))
    return out[reading.output] if isinstance(out, tuple) else out


@pytest.mark.one_in(2)
@pytest.mark.parametrize("case", LOOPS)
def test_the_steps_of_a_loop_give_what_forward_gives(case: str) -> None:
    make, shape, said, kinds, how = LOOPS[case]
    net = lively(make())
    model = read_model(net, torch.zeros(shape), CallerFacts(**said))
    reading = model.reference.reading  # type: ignore[attr-defined]
    assert [n.attrs["kind"] for n in model.graph.neurons] == kinds
    assert reading.readout.reduction == how
    x = reading.form.make_input(T, 1, seed=3)
    steps = x.expand(T, *x.shape) if reading.form.kind == "static" else x
    reference = GraphReference(model.graph)  # the golden model, on the graph alone
    y = torch.from_numpy(reference.run(steps.numpy(), reference.initial()).y)
    joined = {"stack": y, "mean": y.mean(0), "sum": y.sum(0), "last": y[-1], "max": y.amax(0)}[how]
    if not reading.readout.folded:
        joined = joined.log_softmax(1)
    expected = own_output(reading, x, T)
    if how == "stack":
        expected = expected.movedim(reading.readout.axis, 0)[reading.readout.lead :]
    torch.testing.assert_close(joined, expected, rtol=1e-4, atol=1e-4)
    assert float(expected.abs().sum()) > 0


@pytest.mark.one_in(2)
@pytest.mark.parametrize("case", ["spikingjelly-csnn", "snntorch-membrane", "norse-recurrent", "spikformer"])
def test_a_loop_is_exported_with_a_proof_and_verified_against_its_module(tmp_path: Path, case: str) -> None:
    make, shape, said, _, _ = LOOPS[case]
    net = lively(make())
    before = {key: value.clone() for key, value in net.state_dict().items()}
    result = export(net, tmp_path / "m.onnx", torch.zeros(shape), **said)
    assert result.passed and any("forward returns" in note for note in result.notes)
    assert verify(result.path, net, **said).passed
    assert all(torch.equal(value, before[key]) for key, value in net.state_dict().items())
    card = read_card(result.path)
    static = len(shape) in (2, 4)
    assert (card["input"]["kind"], card["T"]) == (("static", 4) if static else ("events", 3))
    assert card["output"]["kind"] == {"snntorch-membrane": "membrane", "norse-recurrent": "membrane"}.get(
        case, "spikes" if case == "spikingjelly-csnn" else "currents"
    )


def test_votes_over_T_are_the_mean_that_forward_returns(tmp_path: Path) -> None:
    net = lively(loops.BatchFirst())
    path = export(net, tmp_path / "m.onnx", torch.zeros(1, 3, 2, 6, 6)).path
    x = torch.poisson(torch.full((5, 1, 2, 6, 6), 0.7), generator=torch.Generator().manual_seed(1))
    y = runtime.load(path).session(1).run(x.numpy())
    with torch.no_grad():
        np.testing.assert_allclose(y.mean(0), net(x.movedim(0, 1)).numpy(), atol=1e-6)


# --- what is refused ------------------------------------------------------------------------------------------------------


class Loop(nn.Module):
    """Each of these differs from a loop that can be exported in one line."""

    def __init__(self) -> None:
        super().__init__()
        self.fc, self.fc2, self.lif, self.lif2 = nn.Linear(8, 5), nn.Linear(5, 5), neuron.LIFNode(), neuron.LIFNode()
        self.each = nn.ModuleList([nn.Linear(8, 5) for _ in range(16)])

    def forward(self, x: Tensor) -> Any:
        return torch.stack([self.lif(self.fc(x_t)) for x_t in x]).sum(0)


class Random(Loop):
    def forward(self, x: Tensor) -> Any:
        return torch.stack([self.lif(self.fc((torch.rand_like(x_t) < x_t).float())) for x_t in x]).sum(0)


class Looks(Loop):
    def forward(self, x: Tensor) -> Any:
        out = []
        for x_t in x:
            out.append(self.lif(self.fc(x_t)))
            if out[-1].sum() > 100:
                break
        return torch.stack(out).sum(0)


class OneT(Loop):
    def forward(self, x: Tensor) -> Any:
        return self.lif(self.fc(x.reshape(3, -1, 8)[0])) + sum(self.lif(self.fc(x_t)) for x_t in x)


class WeightsPerStep(Loop):
    def forward(self, x: Tensor) -> Any:
        return torch.stack([self.lif(self.each[t](x_t)) for t, x_t in enumerate(x)]).sum(0)


class Decays(Loop):
    def forward(self, x: Tensor) -> Any:
        return torch.stack([self.lif(self.fc(x_t)) * 0.9**t for t, x_t in enumerate(x)]).sum(0)


class TwoStepsBack(Loop):
    def forward(self, x: Tensor) -> Any:
        out: list[Tensor] = []
        for x_t in x:
            more = self.fc2(out[-2]) if len(out) > 1 else torch.zeros(x.shape[1], 5)
            out.append(self.lif(self.fc(x_t) + more))
        return torch.stack(out).sum(0)


class FromTheFirst(Loop):
    def forward(self, x: Tensor) -> Any:
        v, out = self.fc(x[0]), []
        for x_t in x:
            v = 0.5 * v + self.fc(x_t)
            s = (v > 1).float()
            v = v - s
            out.append(s)
        return torch.stack(out).sum(0)


class Backwards(Loop):
    def forward(self, x: Tensor) -> Any:
        s = [self.lif(self.fc(x_t)) for x_t in x]
        return torch.stack([self.lif2(self.fc2(s_t)) for s_t in reversed(s)]).sum(0)


class LastTwo(Loop):
    def forward(self, x: Tensor) -> Any:
        return torch.stack([self.lif(self.fc(x_t)) for x_t in x])[-2:].mean(0)


class AList(Loop):
    def forward(self, x: Tensor) -> Any:
        return [self.lif(self.fc(x_t)) for x_t in x]


class Resets(Loop):
    def forward(self, x: Tensor) -> Any:
        out = []
        for x_t in x:
            functional.reset_net(self)
            out.append(self.lif(self.fc(x_t)))
        return torch.stack(out).sum(0)


class NormPerStep(Loop):
    """Threshold-dependent normalisation over all steps of a batch: no running statistics."""

    def forward(self, x: Tensor) -> Any:
        y = self.fc(x)
        y = (y - y.mean(0)) / (y.std(0) + 1e-5)
        return torch.stack([self.lif(y_t) for y_t in y]).sum(0)


LOOPS_REFUSED: dict[str, tuple[type[Loop], str]] = {
    "random": (Random, r"draws random numbers .* encode outside"),
    "looks": (Looks, r"its Python looks at values of tensors"),
    "one-T": (OneT, r"forward fails with another T, or another batch, .* \(shape .* is invalid for input of size 32\)"),
    "weights": (WeightsPerStep, r"one step reads each\.2\.weight and the next each\.3\.weight; weights for each step"),
    "decays": (Decays, r"mul uses 0\.81\d* in one step and 0\.7\d* in the next; a number that depends on t"),
    "two-back": (TwoStepsBack, r"made two steps before; keep it in a state of its own"),
    "first-input": (FromTheFirst, r"its state starts from the first input; start it from a constant"),
    "backwards": (
        Backwards,
        r"lif2 \(LIFNode\): its state does not go from one step to the next: .* or runs backwards",
    ),
    "last-two": (LastTwo, r"the output is made of some steps only"),
    "list": (AList, r"it returns a list of T outputs; return torch\.stack\(list\)"),
    "resets": (Resets, r"lif \(LIFNode\): its state does not go from one step to the next: it is reset"),
    "norm": (NormPerStep, r"forward \(NormPerStep\): \w+\(\) takes all steps at once, so that a step needs later ones"),
}


@pytest.mark.parametrize("case", LOOPS_REFUSED)
def test_a_loop_that_is_no_step_is_refused_in_one_line(tmp_path: Path, case: str) -> None:
    make, message = LOOPS_REFUSED[case]
    torch.manual_seed(0)
    with pytest.raises(PlifError, match=message) as refused:
        export(make().eval(), tmp_path / "m.onnx", torch.zeros(3, 1, 8))
    assert "\n" not in str(refused.value) and list(tmp_path.iterdir()) == []
    if case != "list":
        assert "write a forward of one step" in str(refused.value)
    problems = check(make().eval(), torch.zeros(3, 1, 8)).problems
    assert str(refused.value).startswith(problems[0])


def test_of_several_outputs_the_caller_says_which(tmp_path: Path) -> None:
    net = lively(loops.Tutorial5())
    with pytest.raises(
        PlifError, match=r"it returns 2 outputs; say which with output=0 .*1 is every step's value a state of 'lif2'"
    ):
        export(net, tmp_path / "m.onnx", torch.zeros(1, 8))
    with pytest.raises(PlifError, match=r"output 2 of 2; it returns 0 is"):
        export(net, tmp_path / "m.onnx", torch.zeros(1, 8), output=2)
    assert check(net, torch.zeros(1, 8), output=1).supported


def test_a_size_that_happens_to_be_T_hides_nothing() -> None:
    """Two steps, three and so on are looked at first; a kernel or a window of that size must not be taken for time."""

    class Window(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.lif, self.fc = (
                nn.Conv1d(2, 3, 3),
                layer.MultiStepContainer(neuron.IFNode()),
                nn.Linear(9, 5),
            )

        def forward(self, x: Tensor) -> Tensor:  # [T, B, 2, 5]
            y = self.conv(x.flatten(0, 1)).reshape(x.shape[0], x.shape[1], 3, 3)
            return self.fc(self.lif(y).flatten(2)).mean(0)  # type: ignore[no-any-return]

    model = read_model(lively(Window()), torch.zeros(3, 1, 2, 5))
    assert [n.op for n in model.graph] == ["Conv", "Neuron", "Flatten", "Linear"]


def steps_from_outside(num_steps: int) -> nn.Module:
    """The number of steps is a variable of the function that the class stands in."""

    class Outside(Loop):
        def forward(self, x: Tensor) -> Any:  # [B, 8], an image
            return torch.stack([self.lif(self.fc(x)) for _ in range(num_steps)]).sum(0)

    return Outside()


def test_the_number_of_steps_may_stand_around_the_class() -> None:
    reading = read_model(lively(steps_from_outside(5)), torch.zeros(1, 8)).reference.reading  # type: ignore[attr-defined]
    assert (reading.form.kind, reading.form.T, reading.readout.reduction) == ("static", 5, "sum")


class SaysItsBatch(nn.Module):
    """As snnTorch's tutorial 6: a view with the size of the batch in it, which is a global there."""

    def __init__(self, batch_size: int) -> None:
        super().__init__()
        self.batch_size, self.fc, self.lif = batch_size, nn.Linear(8, 5), neuron.LIFNode()

    def forward(self, x: Tensor) -> Tensor:  # [B, 2, 4]
        return self.lif(self.fc(x.view(self.batch_size, -1)))  # type: ignore[no-any-return]


@pytest.mark.parametrize("example", [1, 4])
def test_a_size_of_the_batch_that_the_module_says_follows_its_input(tmp_path: Path, example: int) -> None:
    net = lively(SaysItsBatch(4))
    report = export(net, tmp_path / "m.onnx", torch.zeros(example, 2, 4)).verify
    assert report is not None and report.passed
    assert net.batch_size == 4


# --- what only running it shows -------------------------------------------------------------------------------------------


class Later(nn.Module):
    """One step a call; something else happens in the seventh, and no tensor shows it."""

    def __init__(self, weight: float) -> None:
        super().__init__()
        self.fc, self.lif = nn.Linear(8, 5), neuron.LIFNode(tau=20.0)
        self.calls = 0
        with torch.no_grad():
            self.fc.weight.fill_(weight)
            self.fc.bias.zero_()


class Doubles(Later):
    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        return self.lif(self.fc(x * (2 if self.calls > 6 else 1)))  # type: ignore[no-any-return]


class Forgets(Later):
    def forward(self, x: Tensor) -> Tensor:
        self.calls += 1
        if self.calls == 7:
            functional.reset_net(self)
        return self.lif(self.fc(x))  # type: ignore[no-any-return]


@pytest.mark.parametrize(
    ("make", "weight"), [(Doubles, 1.0), (Forgets, 1.0), (Forgets, 1e-4)], ids=("x", "v", "silent")
)
def test_what_a_module_does_later_is_found_by_running_it(make: type[Later], weight: float) -> None:
    with pytest.raises(
        PlifError, match=r"self\.calls \(forward line \d+ of test_read_loops\.py\) counts.*about step 7\)"
    ):
        read_model(make(weight).eval(), torch.zeros(1, 8))


def test_a_class_that_is_known_is_taken_for_its_kind_only_with_the_same_bits(monkeypatch: pytest.MonkeyPatch) -> None:
    net = nn.Sequential(nn.Linear(8, 5), neuron.LIFNode(tau=3.0))
    assert [n.attrs["kind"] for n in read_model(net, torch.zeros(1, 8)).graph.neurons] == ["LIF"]
    known = neuron_modules.find_neuron_type(net[1])
    assert known is not None

    def other(module: Any) -> Any:  # tau differs in the last bit
        kind, attrs, params = known.read(module)
        return kind, {**attrs, "tau": float(np.nextafter(np.float32(3.0), np.float32(4.0)))}, params

    name = layers.qualified_name(neuron.LIFNode)
    monkeypatch.setitem(neuron_modules.NEURONS, name, neuron_modules.NeuronType(other))
    assert [n.attrs["kind"] for n in read_model(net, torch.zeros(1, 8)).graph.neurons] == ["Traced"]


def test_a_module_that_goes_on_in_its_second_call_is_told_from_one_that_starts_again() -> None:
    goes_on = read_model(lively(loops.CSNN()), torch.zeros(1, 1, 8, 8)).notes
    starts_again = read_model(lively(loops.BatchFirst()), torch.zeros(1, 3, 2, 6, 6)).notes
    assert "CSNN: a call goes on from where the last one ended: reset it between samples" in goes_on
    assert not any("goes on" in note for note in starts_again)
