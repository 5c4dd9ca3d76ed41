"""TensorRT engines: a plan on a GPU of NVIDIA, built by `plif export --to tensorrt` (or `tensorrt-rtx`).

The membranes stay on the device, in two sets that are read and written in turn: TensorRT does not promise that one tensor may
be input and output at once. For each of the two directions (phases) there is an execution context and a CUDA graph, since a
graph keeps the addresses it was recorded with. A graph holds the whole step: x up, the network, y down; so a step is one
launch and one wait, on a stream of its own.

    made    shapes and addresses -> one run as it comes (TensorRT settles its memory then) -> the same recorded as a graph
    run     x into pinned memory -> launch the phase's graph -> wait -> y out of pinned memory -> the other phase
    push    membranes of the caller -> those that the next run reads;  pull: those that the last run wrote -> the caller

The run before a recording writes into the set that the phase writes; both are zeroed after it, and what counts is pushed.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from runtime.base.errors import PlifError, PlifWarning
from runtime.engines import EngineOptions, ResidentEngine
from runtime.engines.tensorrt.cuda import Gpu, Memory, open_gpu
from runtime.engines.tensorrt.module import import_tensorrt, logger_of
from runtime.engines.tensorrt.plan import NOT_RUN, RTX, TENSORRT, Plan, open_plan
from runtime.model.card import Card

if TYPE_CHECKING:
    import tensorrt as tensorrt_types


class TensorRtEngine(ResidentEngine):
    name: ClassVar[str] = TENSORRT
    suffixes: ClassVar[tuple[str, ...]] = (".engine",)
    counts_rates: ClassVar[bool] = False  # spikes stay inside the plan

    def __init__(self, path: Path, card: Card, options: EngineOptions) -> None:
        plan = open_plan(path, self.name, options.sha256)
        trt = import_tensorrt(self.name)
        self.gpu = open_gpu(options.device or "cuda:0")
        plan.require_machine(trt.__version__, self.gpu.name, self.gpu.compute_capability)
        if plan.card["parity"] == NOT_RUN:
            warnings.warn(
                f"{path}: this engine was never compared with its model (parity: not run); "
                "compare it here: plif verify ENGINE --against MODEL",
                PlifWarning,
                stacklevel=4,
            )
        self.plan, self.card = plan, plan.card
        self._trt = trt
        self._runtime, self._engine = _deserialise(trt, plan)
        _check_tensors(trt, self._engine, plan)

    def membranes(self, rows: int) -> tuple[list[np.ndarray], list[np.ndarray]]:
        """Arrays in pinned memory, for `push` and `pull` without a detour. The two lists are the same."""
        self.gpu.use()
        v = [self.gpu.pinned((rows, *state["shape"])) for state in self.card["states"]]
        return v, v

    def resident(
        self, x: np.ndarray, y: np.ndarray, v: Sequence[np.ndarray], rates: Mapping[str, np.ndarray] | None = None
    ) -> TensorRtSteps:
        """Steps of one session, with its membranes on the device."""
        if rates:
            raise PlifError(f"engine {self.name}: spikes stay inside the plan, so it counts no rates")
        self.plan.require_rows(v[0].shape[0])
        return TensorRtSteps(self._trt, self._engine, self.plan, self.gpu, x, y, v)


class TensorRtRtxEngine(TensorRtEngine):
    """The same for TensorRT-RTX, whose plans are built ahead of time and finished for the GPU when they are opened."""

    name: ClassVar[str] = RTX


class TensorRtSteps:
    """runtime.engines.Resident: one session's buffers, two execution contexts, two graphs. For one thread at a time."""

    def __init__(
        self,
        trt: ModuleType,
        engine: tensorrt_types.ICudaEngine,
        plan: Plan,
        gpu: Gpu,
        x: np.ndarray,
        y: np.ndarray,
        v: Sequence[np.ndarray],
    ) -> None:
        self._trt, self._plan, self._gpu = trt, plan, gpu
        self.x, self.y, self.v = x, y, v
        gpu.use()
        self._stream = gpu.stream()
        self._x_host, self._y_host = gpu.pinned(x.shape), gpu.pinned(y.shape)
        self._x, self._y = gpu.memory(x.nbytes), gpu.memory(y.nbytes)
        self._sets = tuple([gpu.memory(array.nbytes) for array in v] for _ in range(2))
        self._zero()
        self._contexts = [self._context(engine, phase) for phase in (0, 1)]
        self._launch = [self._recorded(context) for context in self._contexts]
        self._phase = 0
        self._zero()

    def run(self) -> None:
        """One call: self.x and the membranes inside -> self.y and the membranes inside."""
        self._gpu.use()
        np.copyto(self._x_host, self.x)
        self._launch[self._phase]()
        self._stream.wait()
        np.copyto(self.y, self._y_host)
        self._phase = 1 - self._phase

    def push(self) -> None:
        self._gpu.use()
        for memory, array in zip(self._sets[self._phase], self.v, strict=True):
            self._stream.up(memory, array)
        self._stream.wait()

    def pull(self) -> None:
        self._gpu.use()
        for memory, array in zip(self._sets[self._phase], self.v, strict=True):
            self._stream.down(array, memory)
        self._stream.wait()

    def _zero(self) -> None:
        for memory in (self._x, self._y, *self._sets[0], *self._sets[1]):
            self._stream.zero(memory)
        self._stream.wait()

    def _context(self, engine: tensorrt_types.ICudaEngine, phase: int) -> tensorrt_types.IExecutionContext:
        """An execution context that reads the membranes of `phase` and writes the others."""
        card, path = self._plan.card, self._plan.path
        context = engine.create_execution_context()
        if context is None:
            raise PlifError(f"{path}: no memory on the GPU for an execution context ({self._reason()})")
        tensors: dict[str, tuple[Memory, tuple[int, ...]]] = {
            card["graph"]["input"]: (self._x, self.x.shape),
            "y": (self._y, self.y.shape),
        }
        inputs = {card["graph"]["input"], *(state["input"] for state in card["states"])}
        for i, state in enumerate(card["states"]):
            tensors[state["input"]] = (self._sets[phase][i], self.v[i].shape)
            tensors[state["output"]] = (self._sets[1 - phase][i], self.v[i].shape)
        for name in inputs:
            if not context.set_input_shape(name, tensors[name][1]):
                raise PlifError(f"{path}: {name} cannot be {list(tensors[name][1])} ({self._reason()})")
        missing = context.infer_shapes()
        if missing:
            raise PlifError(f"{path}: the engine wants more than its card says: {', '.join(missing)}")
        for name, (memory, shape) in tensors.items():
            found = tuple(context.get_tensor_shape(name))
            if found != tuple(shape):
                raise PlifError(f"{path}: {name} is {list(found)} in the engine, {list(shape)} in the card")
            if not context.set_tensor_address(name, memory.address):
                raise PlifError(f"{path}: {name} cannot be bound ({self._reason()})")
        return context

    def _recorded(self, context: tensorrt_types.IExecutionContext) -> Callable[[], None]:
        """The step as a CUDA graph; where it cannot be recorded, the step itself, and a line says so."""

        def enqueue() -> None:
            self._stream.up(self._x, self._x_host)
            if not context.execute_async_v3(self._stream.handle):
                raise PlifError(f"{self._plan.path}: the engine does not run ({self._reason()})")
            self._stream.down(self._y_host, self._y)

        enqueue()
        self._stream.wait()
        capturable = getattr(context, "is_stream_capturable", None)  # TensorRT-RTX knows it beforehand
        try:
            if capturable is not None and not capturable(self._stream.handle):
                raise PlifError("TensorRT-RTX says that this engine cannot be recorded")
            return self._stream.captured(enqueue)
        except PlifError as error:
            what = "runs without a CUDA graph, so a step takes as many launches as it has kernels"
            warnings.warn(f"{self._plan.path}: {what} ({error})", PlifWarning, stacklevel=2)
            return enqueue

    def _reason(self) -> str:
        return str(logger_of(self._trt).reason())


def _deserialise(trt: ModuleType, plan: Plan) -> tuple[tensorrt_types.Runtime, tensorrt_types.ICudaEngine]:
    logger = logger_of(trt)
    logger.forget()
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan.data)
    if engine is None:
        raise PlifError(
            f"{plan.path}: TensorRT cannot open the plan ({logger.reason()}); build it here: {plan.record['rebuild']}"
        )
    return runtime, engine


def _check_tensors(trt: ModuleType, engine: tensorrt_types.ICudaEngine, plan: Plan) -> None:
    """The engine's inputs and outputs must be those of the card, float32 all."""
    card = plan.card
    inputs: set[str] = set()
    outputs: set[str] = set()
    for i in range(engine.num_io_tensors):
        name = engine.get_tensor_name(i)
        (inputs if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else outputs).add(name)
        if engine.get_tensor_dtype(name) != trt.DataType.FLOAT:
            raise PlifError(f"{plan.path}: {name} is {engine.get_tensor_dtype(name)} in the engine; expected FLOAT")
    for what, found, expected in (
        ("inputs", inputs, {card["graph"]["input"], *(state["input"] for state in card["states"])}),
        ("outputs", outputs, {"y", *(state["output"] for state in card["states"])}),
    ):
        if found != expected:
            raise PlifError(
                f"{plan.path}: the engine's {what} are {', '.join(sorted(found))}; its card says "
                f"{', '.join(sorted(expected))}; build it again: {plan.record['rebuild']}"
            )


__all__ = ["TensorRtEngine", "TensorRtRtxEngine", "TensorRtSteps"]
