"""The user's own module is the judge: it runs alone, in a fork, in several modes, and at the sizes that its code compares."""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Callable
from contextvars import ContextVar
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import _disable_current_modes, _get_current_dispatch_mode

import runtime
from plif_export import export
from plif_export.readers.module_runs import alone, sizes
from plif_export.readers.module_runs.fork import ForkError, fork_call
from runtime.core.base.errors import PlifError
from tests.peers import make

STEP = torch.zeros(1, 2, 4, 4)
Odd = Callable[["Net", Tensor], Tensor]


class Net(nn.Module):
    """A convolution and a neuron, one step a call; `odd` is what a case adds."""

    def __init__(self, odd: Odd = lambda net, x: x) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.conv, self.v, self.odd = nn.Conv2d(2, 3, 3), 0.0, odd
        nn.init.constant_(self.conv.weight, 0.2)

    def forward(self, x: Tensor) -> Tensor:
        h = self.v * 0.5 + self.conv(self.odd(self, x))
        s = (h >= 1.0).float()
        self.v = h - s  # type: ignore[assignment]
        return s.mean((2, 3))


def double(x: Tensor, condition: bool) -> Tensor:
    return x * 2.0 if condition else x


def halve(net: Net, x: Tensor) -> Tensor:
    return x.mul_(0.5)


def without_modes(net: Net, x: Tensor) -> Tensor:
    with _disable_current_modes():
        return x * 2.0


def in_a_thread(net: Net, x: Tensor) -> Tensor:
    made: list[Tensor] = []
    thread = threading.Thread(target=lambda: made.append(x * 2.0))
    thread.start()
    thread.join()
    return made[0]


def through_numpy(net: Net, x: Tensor) -> Tensor:
    with torch._C.DisableTorchFunction():
        array = x.numpy()
    return torch.from_numpy(np.where(array > 3, array * 2, array))


CALLS: ContextVar[int] = ContextVar("CALLS", default=0)


def counted_in_a_context(net: Net, x: Tensor) -> Tensor:
    CALLS.set(CALLS.get() + 1)
    return x if CALLS.get() > 3 else x * 0.0


def added_as_bytes(net: Net, x: Tensor) -> Tensor:
    both = x[:, :1] + x[:, 1:]
    return torch.cat((both, both), 1).float()


NAMES = {
    "up",
    "down",
    "left",
    "right",
    "near",
    "far",
    "left-up",
    "left-down",
    "right-up",
    "right-down",
    "here",
    "there",
}


def scaled_by_the_place_of_a_name(net: Net, x: Tensor) -> Tensor:
    return x * (0.02 + 0.05 * list(NAMES).index("up"))


class Aliased(Net):
    """It returns its membrane, and adds to it in place."""

    def forward(self, x: Tensor) -> Tensor:
        super().forward(x)
        self.sum = getattr(self, "sum", torch.zeros(x.shape[0], 3)).add_(self.v.mean((2, 3)))  # type: ignore[attr-defined]
        return self.sum


def test_an_output_that_later_calls_overwrite_is_named(tmp_path: Path) -> None:
    named = [
        "its next call writes into what it returned" in note
        for note in export(Aliased(), tmp_path / "m.onnx", STEP).notes
    ]
    assert sum(named) == 1


ALONE, ROWS = "run alone|run again", "of a batch of {} is not what it is alone"
NO_OPERATION = "it uses a tensor that no recorded operation made"
WRONG: dict[str, tuple[Odd, str]] = {
    "asks-for-recorders": (lambda net, x: double(x, _get_current_dispatch_mode() is None), ALONE),
    "asks-for-gradients": (lambda net, x: double(x, torch.is_grad_enabled()), ALONE),
    "asks-for-inference": (lambda net, x: double(x, torch.is_inference_mode_enabled()), "is not what|" + ALONE),
    "asks-for-gaps": (lambda net, x: double(x, not x.is_contiguous()), ALONE),
    "asks-for-its-recording": (lambda net, x: double(x, x._base is not None), ALONE),
    "writes-into-its-frame": (halve, "where it gets the same frame again"),
    "many-rows": (lambda net, x: double(x, x.shape[0] > 64), ROWS.format(65)),
    "many-rows-by-size": (lambda net, x: double(x, x.size(0) >= 64), ROWS.format(64)),
    "many-rows-by-len": (lambda net, x: double(x, len(x) > 64), ROWS.format(65)),
    "many-numbers": (lambda net, x: double(x, x.numel() > 2000), ROWS.format(63)),
    "two-sizes": (lambda net, x: double(x, x.shape[0] in {37, 40}), ROWS.format(37)),
    "without-modes": (without_modes, NO_OPERATION),
    "in-a-thread": (in_a_thread, NO_OPERATION),
    "through-numpy": (through_numpy, NO_OPERATION),
    "first-calls": (
        counted_in_a_context,
        "its first calls and the same calls after it was read differ .first in call 1.",
    ),
    "order-of-a-set": (scaled_by_the_place_of_a_name, "the order of a set of strings"),
    "bytes": (
        added_as_bytes,
        r"on frames of uint8 it computes in torch.uint8 \(add, added_as_bytes line .*which wraps",
    ),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_no_copy_shows_is_refused(tmp_path: Path, case: str) -> None:
    odd, message = WRONG[case]
    with pytest.raises(PlifError, match=message):
        export(Net(odd), tmp_path / "m.onnx", STEP)
    assert not list(tmp_path.iterdir())


class Resets(Net):
    """It resets its membrane, and `spoil` does something else, too."""

    def __init__(self, spoil: Callable[[Net], None]) -> None:
        super().__init__(lambda net, x: x * net.gain)
        self.spoil, self.gain = spoil, 0.3

    def reset(self) -> None:
        self.v = 0.0
        self.spoil(self)


@pytest.mark.parametrize(
    ("spoil", "note"),
    [
        (lambda net: None, None),
        (lambda net: setattr(net, "gain", 0.1), "after its reset it does not do what it did at first"),
        (lambda net: setattr(net, "v", torch.full((1, 3, 2, 2), 0.9)), "your reset.. leaves v"),
    ],
    ids=["right", "another gain", "another membrane"],
)
def test_a_reset_that_does_not_lead_back_to_the_start_is_named(
    tmp_path: Path, spoil: Callable[[Net], None], note: str | None
) -> None:
    notes = " ".join(export(Resets(spoil), tmp_path / "m.onnx", STEP).notes)
    assert re.search(note, notes) if note else "second sample" not in notes


class Folded(Net):
    """Its eval() folds a scale into the weights, each time."""

    def train(self, mode: bool = True) -> Folded:
        super().train(mode)
        if not mode:
            self.conv.weight.data.mul_(2.0)
        return self


def test_a_module_that_is_in_evaluation_mode_is_not_put_into_it_again(tmp_path: Path) -> None:
    net = Folded().eval()
    assert export(net, tmp_path / "m.onnx", STEP).passed and export(Folded(), tmp_path / "n.onnx", STEP).passed
    x = np.full((1, 2, 4, 4), 0.1, np.float32)  # h = 18 * 0.4 * 0.1 fires in step 2; folded twice, in step 1
    expected = [net(torch.from_numpy(x)).numpy() for _ in range(2)]
    assert [bool(y.any()) for y in expected] == [False, True]
    for name in ("m.onnx", "n.onnx"):
        session = runtime.load(tmp_path / name).session()
        np.testing.assert_array_equal([session.step(x).copy() for _ in range(2)], expected)


def test_bytes_that_are_compared_or_clamped_do_not_wrap(tmp_path: Path) -> None:
    assert export(Net(lambda net, x: x.clamp(max=1).float() * 0.7), tmp_path / "m.onnx", STEP).passed


def test_sizes_that_are_too_large_to_try_are_named(tmp_path: Path) -> None:
    report = export(Net(lambda net, x: double(x, x.numel() > 1e8)), tmp_path / "m.onnx", STEP).verify
    assert report is not None and any("rows and more (<lambda> line" in line for line in report.not_proved)


def test_a_comparison_of_sizes_that_changes_nothing_is_accepted_and_its_batch_is_run(tmp_path: Path) -> None:
    report = export(Net(lambda net, x: (double(x, x.shape[0] > 64), x)[1]), tmp_path / "m.onnx", STEP).verify
    assert report is not None and report.passed and "65" in report.module


def test_without_a_fork_the_module_runs_here_and_is_restored(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (alone, sizes):
        monkeypatch.setattr(module, "can_fork", lambda: False)
    net = Net().train()
    before = {name: value.clone() for name, value in net.state_dict().items()}, net.v, torch.get_rng_state()
    assert export(net, tmp_path / "m.onnx", STEP).passed
    assert net.training and net.v == before[1] and torch.equal(torch.get_rng_state(), before[2])
    assert all(torch.equal(value, before[0][name]) for name, value in net.state_dict().items())
    with pytest.raises(PlifError, match=ALONE):
        export(Net(WRONG["asks-for-recorders"][0]), tmp_path / "m.onnx", STEP)


def test_a_fork_says_how_its_process_ended() -> None:
    assert fork_call(lambda: b"7") == b"7"
    with pytest.raises(ForkError, match="exit code 3"):
        fork_call(lambda: os._exit(3))
    with pytest.raises(ForkError, match="SIGKILL"):
        fork_call(lambda: os.kill(os.getpid(), 9) or b"")
    with pytest.raises(ForkError, match="no such frame"):
        fork_call(lambda: int("no such frame").to_bytes())


@pytest.mark.large
def test_a_spike_that_rounding_moves_in_a_batch_is_no_difference_of_rows(tmp_path: Path) -> None:
    """Convolutions of 3 rows sum in another order than those of 1, and its neurons integrate from the first step."""
    pytest.importorskip("spikingjelly")
    peer = make("spikingjelly", "spiking_resnet18")
    assert export(peer.model, tmp_path / "m.onnx", peer.example, **peer.options).passed
