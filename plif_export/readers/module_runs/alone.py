"""The user's own module, alone: no recorder, no hook and no copy of plif's, in a process of its own.

All other knowledge of a module comes from copies that run under a recorder. Code can see that: it may hold on to the
original, switch recorders off, or ask which modes are on. So the original makes its calls as its owner does, and its
outputs must be those of the step program:

    lengths     all steps of a stream, or sequences of each length, on the stimulus of the gate
    modes       the same with gradients, and in inference mode; frames in one memory, as parts of a larger tensor, again
    batches     each row must be what it is alone, also where the code compares the number of rows (sizes.py)

Where a fork would break the driver of a GPU, the module runs in this process and is restored.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from plif_export.readers.libraries.neurons import reset_like_user
from plif_export.readers.module_runs.comparison import DISTINCT_ROWS, DifferenceError, ForwardComparison
from plif_export.readers.module_runs.fork import ForkError, can_fork, first_line, fork_call, fork_tensors
from plif_export.readers.module_runs.paired import replace_state
from plif_export.readers.module_runs.sides import is_close
from plif_export.readers.module_runs.sizes import find_compared_sizes
from plif_export.readers.step_program.reading import ModuleReading
from plif_export.readers.tracing.copies import prepare_for_form, preserve_module
from plif_export.readers.tracing.forms import list_tensors
from plif_export.readers.tracing.nodes import ForwardInput
from plif_export.readers.tracing.refused import NarrowIntegerLog
from runtime.core.base.progress import show_stage
from runtime.native import use_caller_mode

MODE_STEPS = 16  # of a stream, in the other modes
MODES_START = 44  # step of the stimulus, from which on other modes run, after ordinary counts
BATCH_START = 46  # step of the stimulus, from which on batches run: hot pixels, and the largest counts
ADVICE = (
    "what it does must follow from its input and its states alone: no mode of PyTorch, object or thread may change it"
)
MODES: dict[str, tuple[Callable[[], AbstractContextManager[object]], str]] = {
    "without gradients": (torch.no_grad, "new"),
    "with gradients, all frames in one memory": (torch.enable_grad, "one memory"),
    "on views of a recording": (torch.no_grad, "views"),
    "in inference mode, on frames with gaps in memory": (torch.inference_mode, "parts"),
}
HANDED_AGAIN, AS_BYTES = "where it gets the same frame again", "on frames of uint8"
ALL_MODES = MODES | {HANDED_AGAIN: (torch.no_grad, "again"), AS_BYTES: (torch.no_grad, "bytes")}


class Frames(list[Tensor]):
    """The frames [B, ...] of a stream, handed over as owners of a module do.

    memory: "new", each has its own; "one memory", each is written over the last; "views" of one tensor of all steps;
    "parts" of a larger one, with gaps between their numbers; "again": every second frame is the one before; "bytes":
    whole numbers of uint8.
    """

    def __init__(self, x: Tensor, memory: str) -> None:
        self.x, self.memory = x, memory
        self.whole = _leave_gaps(x) if memory == "parts" else x  # made here: inference mode hides views
        super().__init__()

    def __iter__(self) -> Iterator[Tensor]:
        buffer = torch.empty_like(self.x[0])
        for t, frame in enumerate(self.x):
            if self.memory == "new":
                yield frame.clone()
            elif self.memory == "bytes":
                yield frame.to(torch.uint8)
            elif self.memory in ("views", "parts"):
                yield self.whole[t]
            else:
                if self.memory == "one memory" or t % 2 == 0:
                    buffer.copy_(frame)
                yield buffer


@dataclass(frozen=True)
class AloneRun:
    """A run of a user's module without any recorder: its input [T, B, ...] or image [B, ...], and a mode of MODES.

    rows_before: of a call before the run, after which the module makes its state anew; 0: no such call.
    """

    x: Tensor
    T: int
    mode: str = next(iter(MODES))
    rows_before: int = 0


class FailsAloneError(DifferenceError):
    """The error of a user's own module that fails when it runs alone; own_error: its first line."""

    def __init__(self, own_error: str) -> None:
        super().__init__(f"its own forward fails when it runs alone ({own_error})", ADVICE)
        self.own_error = own_error


def compare_alone(check: ForwardComparison, module: nn.Module) -> None:
    """Check that a user's own module, run alone, gives the outputs of the program found for its steps.

    Raises DifferenceError.
    """
    form, lengths = check.form, sorted({*check.lengths}, reverse=True)
    whole = check.make_input(lengths[0])
    for T in lengths:
        x = whole if form.kind == "static" else whole[:T]
        _compare_rows(check, module, AloneRun(x, T), [x])
    if form.kind == "step":
        ordinary, T = form.make_input(MODE_STEPS // 2, 1, seed=6), MODE_STEPS
        x, again = torch.cat((ordinary, check.make_input(T // 2, first=MODES_START))), ordinary.repeat_interleave(2, 0)
        _compare_rows(check, module, AloneRun(again, T, HANDED_AGAIN), [again])
    for mode in list(MODES)[1:]:
        try:
            _compare_rows(check, module, AloneRun(x, T, mode), [x])
        except FailsAloneError as error:  # as it would say to its owner
            check.comparison.not_proved.append(f"runs {mode}, which fail ({error.own_error})")
    if form.kind != "static":
        as_bytes = AloneRun(x, T, AS_BYTES)
        line = find_narrow_integers(module, check.reading, as_bytes)
        if line:
            raise DifferenceError(f"{AS_BYTES} {line}, which wraps", "begin with x = x.float()")
        if line is not None:
            _compare_rows(check, module, as_bytes, [x])
    sizes = find_compared_sizes(module, check.reading)
    check.comparison.not_proved += sizes.not_tried
    axis = 0 if form.kind == "static" else 1
    x = _make_batch(check)
    rows = [x.narrow(axis, r, 1) for r in range(DISTINCT_ROWS)]
    for batch in dict.fromkeys((*check.batches, *sizes.batches)):
        indices = torch.arange(batch) % DISTINCT_ROWS
        T = len(x) if batch in sizes.batches and axis else 2 * check.batch_T
        run_x, run_rows = (x, rows) if not axis else (x[:T], [row[:T] for row in rows])
        rows_before = batch + 1 if batch in check.held_rows else 0
        _compare_rows(check, module, AloneRun(run_x.index_select(axis, indices), T, rows_before=rows_before), run_rows)
    check.batches = sorted({*check.batches, *sizes.batches})
    for T in sizes.lengths:
        x = check.make_input(T)
        _compare_rows(check, module, AloneRun(x, T), [x])
    check.lengths += sizes.lengths


def _make_batch(check: ForwardComparison) -> Tensor:
    """Make the rows of batches, [T, 3, ...] or images: ordinary counts, then extremes, then ordinary counts."""
    x = check.make_input(check.batch_T, DISTINCT_ROWS, seed=4, first=BATCH_START)
    if check.form.kind == "static":
        return x
    ordinary = check.form.make_input(3 * check.batch_T, DISTINCT_ROWS, seed=5)
    return torch.cat((ordinary[: check.batch_T], x, ordinary[check.batch_T :]))


def _compare_rows(check: ForwardComparison, module: nn.Module, run: AloneRun, rows: list[Tensor]) -> Tensor:
    """Run a user's own module alone, and compare each row of its output with the step program on that row.

    rows: the rows of which the input is made, in turn. Returns the output of the module.
    """
    y = run_alone(module, check.reading, run)
    axis, batch = int(check.reading.readout.reduction == "stack"), run.x.shape[0 if check.form.kind == "static" else 1]
    joint = torch.cat([check.compute_output(row, run.T) for row in rows[:batch]], axis)
    if y.shape[axis : axis + 1] != (batch,):
        raise DifferenceError(f"its output has the shape {list(y.shape)} for {batch} rows", "keep the batch first")
    expected = joint.index_select(axis, torch.arange(batch) % len(rows)).reshape(y.shape)
    if not bool((same := is_close(expected, y)).all()):
        x = _leave_gaps(run.x) if ALL_MODES[run.mode][1] == "parts" else run.x
        try:  # sums in another order: the checks of a copy allow for them
            same = is_close(check.watch_copy(x, run.T).reshape(y.shape), y)
        except DifferenceError:
            if batch > 1:
                raise
        if not bool(same.all()):
            what = f"step {int((~same).flatten(1).any(1).nonzero()[0])}" if axis else "its output"
            rows_text = (
                f" on a batch of {batch}" if batch > 1 else f" {run.mode}" if run.mode != next(iter(MODES)) else ""
            )
            raise DifferenceError(f"run alone{rows_text}, it does not do what was recorded (first in {what})", ADVICE)
    return y


def compare_after_reset(check: ForwardComparison, module: nn.Module) -> list[str]:
    """Return a note if a user's own module, after its own reset, does not do again what it did at first."""
    form, reading = check.form, check.reading
    T = MODE_STEPS if form.kind == "step" else min(check.lengths)
    x = form.make_input(T, 1, seed=8)

    def call() -> list[Tensor]:
        runner, run = prepare_for_form(module, form.module), form.make_call(T)
        with form.set_length(T), torch.no_grad(), use_caller_mode():
            first = _take_output(reading, run(runner, form.arrange_input(x)))
            reset_like_user(runner)
            return [torch.stack((first, _take_output(reading, run(runner, form.arrange_input(x)))))]

    if not can_fork():
        return []
    try:
        ((first, again),) = fork_tensors(call)
    except ForkError:  # of another shape, or its own error: what the runs before were is compared
        return []
    what = "after its reset it does not do what it did at first: PyTorch's second sample will differ from the file's"
    return [] if bool(is_close(first, again).all()) else [f"{type(module).__name__}: {what}"]


def run_alone(module: nn.Module, reading: ModuleReading, run: AloneRun) -> Tensor:
    """Run a user's own module from reset, without a recorder or copy; return its output.

    Returns [T, B, ...] of a record, else [B, ...]. Raises FailsAloneError with the module's own error, or if its
    process ends.
    """
    show_stage(f"reading the module: running it alone, {run.T} steps {run.mode}")
    call = _make_call(module, reading, run)
    try:
        return fork_tensors(lambda: [call()])[0] if can_fork() else call_here(module, call)
    except ForkError as error:
        raise FailsAloneError(str(error)) from None


def find_narrow_integers(module: nn.Module, reading: ModuleReading, run: AloneRun) -> str | None:
    """Return the line at which a run of a user's module computes in narrow integers, if its process can be forked.

    Empty if no line does; None if the run fails, as where the module takes float32 only.
    """
    call, log = _make_call(module, reading, run), NarrowIntegerLog()

    def log_integers() -> bytes:
        with log:
            call()
        return log.first.encode()

    try:
        if can_fork():
            return fork_call(log_integers).decode()
        call_here(module, call)
    except ForkError:
        return None
    return ""


def _make_call(module: nn.Module, reading: ModuleReading, run: AloneRun) -> Callable[[], Tensor]:
    """Return a function that makes a run in this process and returns its output, as run_alone does."""
    form = reading.form
    mode, memory = ALL_MODES[run.mode]

    def call() -> Tensor:
        runner = prepare_for_form(module, form.module)
        replace_state(form, runner, run.rows_before)
        x: ForwardInput = Frames(run.x, memory) if form.kind == "step" else form.arrange_input(run.x)
        if isinstance(x, Tensor):
            x = _leave_gaps(x) if memory == "parts" else x.to(torch.uint8) if memory == "bytes" else x
        with form.set_length(run.T), mode(), use_caller_mode():
            out = form.make_call(run.T)(runner, x)
        return _take_output(reading, out)

    return call


def _take_output(reading: ModuleReading, out: object) -> Tensor:
    y = list_tensors(out)[reading.output].detach().cpu()
    readout = reading.readout
    return y.movedim(readout.axis, 0)[readout.lead :] if readout.reduction == "stack" else y


def _leave_gaps(x: Tensor) -> Tensor:
    """Return the same numbers [...] in a tensor that has other numbers between them in memory."""
    return torch.stack((x, x), -1)[..., 1]


def call_here(module: nn.Module, call: Callable[[], Tensor]) -> Tensor:
    """Run a user's module in this process, and restore it and all that it reaches, also after Ctrl-C.

    call: runs it. Returns its output [B, ...], or [T, B, ...] of a record.
    """
    modes = {part: part.training for part in module.modules()}
    devices = {weight: weight.device for weight in module.parameters()}
    with preserve_module(module):
        try:
            return call().clone()
        except Exception as error:  # whatever the module's own Python raises
            raise ForkError(first_line(error)) from None
        finally:
            for weight, device in devices.items():
                weight.data = weight.data.to(device)
            for part, training in modes.items():
                part.training = training
