"""TensorRT engines: a plan on an NVIDIA GPU, built by `plif export --to tensorrt` (or `tensorrt-rtx`).

The membranes stay on the device, in two sets: a step reads one set and writes the other, and then the sets change
places, since TensorRT does not promise that one tensor may be input and output at once. Each of the two directions
(phases) has an execution context and a CUDA graph of its own, since a graph keeps the addresses that it was recorded
with. A graph holds the complete step: x to the device, the network, y to the host. So a step is one launch and one
wait, on a CUDA stream that belongs to the session.

    opening   bind shapes and addresses -> run once without a graph (TensorRT then allocates its memory) -> record a
              graph
    call      x into pinned memory -> launch the graph of the phase -> wait -> y out of pinned memory -> the other phase
    push      the session's copy of the membranes -> the set that the next call reads
    pull      the set that the last call wrote -> the session's copy

The runs while a session is opened write into both sets, so both are zeroed after them.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, ClassVar

import numpy as np

from runtime.core.base.declared import EngineOptions
from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.engines import Engine
from runtime.core.engines.buffers import Resident
from runtime.core.engines.tensors import name_tensors, shapes_by_name
from runtime.core.model.card import Card
from runtime.engines.tensorrt_plan.cuda import Gpu, open_gpu
from runtime.engines.tensorrt_plan.module import get_logger, import_tensorrt
from runtime.engines.tensorrt_plan.plan import NOT_RUN, RTX, TENSORRT, Plan, open_plan

if TYPE_CHECKING:
    import tensorrt as tensorrt_types


class TensorRtEngine(Engine):
    """The engine of TensorRT: runs a plan on the GPU that it was built for."""

    name: ClassVar[str] = TENSORRT
    on_gpu: ClassVar[bool] = True
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

    def buffers(self, rows: int, rates: bool = False) -> TensorRtBuffers:
        """Allocate the arrays for `rows` rows (x float32 [rows, C, H, W]).

        Raise PlifError for more rows than the plan was built for.
        """
        if rates:
            raise PlifError(f"engine {self.name}: spikes stay inside the plan, so it counts no rates")
        self.plan.require_rows(rows)
        return TensorRtBuffers(self._trt, self._engine, self.plan, self.gpu, rows)


class TensorRtRtxEngine(TensorRtEngine):
    """The engine of TensorRT-RTX: plans built ahead of time, compiled for the GPU when they are opened."""

    name: ClassVar[str] = RTX


class TensorRtBuffers(Resident):
    """TensorRT's buffers of one session on the GPU, with two execution contexts and two CUDA graphs.

    They are for one thread at a time.
    """

    def __init__(self, trt: ModuleType, engine: tensorrt_types.ICudaEngine, plan: Plan, gpu: Gpu, rows: int) -> None:
        gpu.use()
        v = [
            gpu.allocate_pinned((rows, *state["shape"])) for state in plan.card["states"]
        ]  # so that copies need no staging
        super().__init__(plan.card, rows, False, v)
        self._trt, self._plan, self._gpu = trt, plan, gpu
        self._stream = gpu.create_stream()
        self._x_host, self._y_host = gpu.allocate_pinned(self.x.shape), gpu.allocate_pinned(self.y.shape)
        self._x, self._y = gpu.allocate(self.x.nbytes), gpu.allocate(self.y.nbytes)
        self._sets = tuple([gpu.allocate(array.nbytes) for array in v] for _ in range(2))
        self._zero()
        self._contexts = [self._create_context(engine, phase) for phase in (0, 1)]
        self._launch = [self._record(context) for context in self._contexts]
        self._phase = 0
        self._zero()

    def call(self) -> None:
        self._gpu.use()
        np.copyto(self._x_host, self.x)
        self._launch[self._phase]()
        self._stream.wait()
        np.copyto(self.y, self._y_host)
        self._phase = 1 - self._phase

    def push(self) -> None:
        self._gpu.use()
        for memory, array in zip(self._sets[self._phase], self.v, strict=True):
            self._stream.copy_to_device(memory, array)
        self._stream.wait()

    def pull(self) -> None:
        self._gpu.use()
        for memory, array in zip(self._sets[self._phase], self.v, strict=True):
            self._stream.copy_to_host(array, memory)
        self._stream.wait()

    def _zero(self) -> None:
        for memory in (self._x, self._y, *self._sets[0], *self._sets[1]):
            self._stream.zero(memory)
        self._stream.wait()

    def _create_context(self, engine: tensorrt_types.ICudaEngine, phase: int) -> tensorrt_types.IExecutionContext:
        """Create a TensorRT execution context that reads membrane set `phase` (0 or 1) and writes the other set."""
        card, path = self._plan.card, self._plan.path
        context = engine.create_execution_context()
        if context is None:
            raise PlifError(f"{path}: no memory on the GPU for an execution context ({self._reason()})")
        before, after = (
            [(memory, array.shape) for memory, array in zip(self._sets[i], self.v, strict=True)]
            for i in (phase, 1 - phase)
        )
        inputs, outputs = name_tensors(card, (self._x, self.x.shape), before, (self._y, self.y.shape), after)
        for name, (_, shape) in inputs.items():
            if not context.set_input_shape(name, shape):
                raise PlifError(f"{path}: {name} cannot be {list(shape)} ({self._reason()})")
        missing = context.infer_shapes()
        if missing:
            raise PlifError(f"{path}: the engine wants more than its card says: {', '.join(missing)}")
        for name, (memory, shape) in (inputs | outputs).items():
            engine_shape = tuple(context.get_tensor_shape(name))
            if engine_shape != tuple(shape):
                raise PlifError(f"{path}: {name} is {list(engine_shape)} in the engine, {list(shape)} in the card")
            if not context.set_tensor_address(name, memory.address):
                raise PlifError(f"{path}: {name} cannot be bound ({self._reason()})")
        return context

    def _record(self, context: tensorrt_types.IExecutionContext) -> Callable[[], None]:
        """Record the network's step as a CUDA graph; return a function that launches it.

        Where the step cannot be recorded, warn and return a function that runs it without a graph.
        """

        def enqueue() -> None:
            self._stream.copy_to_device(self._x, self._x_host)
            if not context.execute_async_v3(self._stream.handle):
                raise PlifError(f"{self._plan.path}: the engine does not run ({self._reason()})")
            self._stream.copy_to_host(self._y_host, self._y)

        enqueue()
        self._stream.wait()
        capturable = getattr(context, "is_stream_capturable", None)  # only TensorRT-RTX has it
        try:
            if capturable is not None and not capturable(self._stream.handle):
                raise PlifError("TensorRT-RTX says that this engine cannot be recorded")
            return self._stream.capture(enqueue)
        except PlifError as error:
            effect = "runs without a CUDA graph, so a step takes as many launches as it has kernels"
            warnings.warn(f"{self._plan.path}: {effect} ({error})", PlifWarning, stacklevel=2)
            return enqueue

    def _reason(self) -> str:
        return str(get_logger(self._trt).reason())


def _deserialise(trt: ModuleType, plan: Plan) -> tuple[tensorrt_types.Runtime, tensorrt_types.ICudaEngine]:
    logger = get_logger(trt)
    logger.forget()
    runtime = trt.Runtime(logger)
    engine = runtime.deserialize_cuda_engine(plan.data)
    if engine is None:
        raise PlifError(
            f"{plan.path}: TensorRT cannot open the plan ({logger.reason()}); build it here: {plan.record['rebuild']}"
        )
    return runtime, engine


def _check_tensors(trt: ModuleType, engine: tensorrt_types.ICudaEngine, plan: Plan) -> None:
    """Refuse a TensorRT engine whose inputs and outputs are not the card's, or are not float32."""
    tensor_names: dict[str, set[str]] = {"inputs": set(), "outputs": set()}
    for i in range(engine.num_io_tensors):
        name = engine.get_tensor_name(i)
        tensor_names["inputs" if engine.get_tensor_mode(name) == trt.TensorIOMode.INPUT else "outputs"].add(name)
        if engine.get_tensor_dtype(name) != trt.DataType.FLOAT:
            raise PlifError(f"{plan.path}: {name} is {engine.get_tensor_dtype(name)} in the engine; expected FLOAT")
    for (kind, names), expected in zip(tensor_names.items(), shapes_by_name(plan.card), strict=True):
        if names != set(expected):
            raise PlifError(
                f"{plan.path}: the engine's {kind} are {', '.join(sorted(names))}; its card says "
                f"{', '.join(sorted(expected))}; build it again: {plan.record['rebuild']}"
            )


__all__ = ["TensorRtBuffers", "TensorRtEngine", "TensorRtRtxEngine"]


ENGINES = (TensorRtEngine, TensorRtRtxEngine)
