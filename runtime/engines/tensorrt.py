"""TensorRT engines: a plan on a GPU of NVIDIA, built by `plif export --to tensorrt` (or `tensorrt-rtx`).

The membranes stay on the device, in two sets that are read and written in turn; TensorRT does not promise that one tensor may
be input and output at once. For each of the two directions there is an execution context and a CUDA graph, since a graph
keeps the addresses it was recorded with. A graph holds the whole step: x up, the network, y down; so a step is one launch
and one wait on a stream of its own.

    bind     addresses -> one run as it comes (TensorRT decides on its memory then) -> the same recorded as a graph
    call     x into pinned memory -> launch -> wait -> y out of pinned memory

The run before the recording writes membranes; what they held comes back afterwards.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from runtime.card import Card
from runtime.engines import EngineOptions
from runtime.engines.cuda import CudaArray, Gpu, Stream, kept, open_gpu
from runtime.engines.plan import RTX, TENSORRT, Plan, open_plan
from runtime.engines.tensorrt_module import import_tensorrt, logger_of
from runtime.errors import PlifError, PlifWarning

if TYPE_CHECKING:
    import tensorrt as tensorrt_types

NOT_RUN = "not run"


class TensorRtEngine:
    name: ClassVar[str] = TENSORRT
    suffixes: ClassVar[tuple[str, ...]] = (".engine",)
    counts_rates: ClassVar[bool] = False  # spikes stay inside the engine

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
        self._engine = _deserialise(trt, plan)
        _check_tensors(trt, self._engine, plan)
        self._copies = self.gpu.stream()  # of the membranes, outside of steps

    def membranes(self, rows: int) -> tuple[list[CudaArray], list[CudaArray]]:
        """Two sets of membranes that stay on the device."""

        def one_set() -> list[CudaArray]:
            return [CudaArray(self.gpu, self._copies, (rows, *state["shape"])) for state in self.card["states"]]

        self.gpu.use()
        return one_set(), one_set()

    def bind(
        self,
        x: np.ndarray,
        v: Sequence[Any],
        y: np.ndarray,
        v_next: Sequence[Any],
        rates: Mapping[str, np.ndarray] | None = None,
    ) -> Callable[[], None]:
        """As the protocol says. Membranes from `membranes` stay where they are, others are copied in and out each call."""
        if rates:
            raise PlifError(f"engine {self.name}: an engine does not give its spikes away, so it counts no rates")
        rows = v[0].shape[0]
        self.plan.require_rows(rows)
        self.gpu.use()
        before, after = self._on_device(v), self._on_device(v_next)
        step = _Step(self.gpu, x.shape, y.shape)
        context = self._context({self.card["graph"]["input"]: step.x, "y": step.y}, before, after)

        def enqueue() -> None:
            step.stream.up(step.x.memory, step.x_host)
            if not context.execute_async_v3(step.stream.handle):
                raise PlifError(f"{self.plan.path}: the engine does not run ({self._reason()})")
            step.stream.down(step.y_host, step.y.memory)

        with kept(after):
            enqueue()
            step.stream.wait()
        launch = self._recorded(context, step.stream, enqueue)

        def call() -> None:
            self.gpu.use()
            np.copyto(step.x_host, x)
            for array, device in zip(v, before, strict=True):
                if array is not device:
                    device[...] = array
                device.to_device()
            launch()
            step.stream.wait()
            np.copyto(y, step.y_host)
            for array, device in zip(v_next, after, strict=True):
                device.was_written()
                if array is not device:
                    array[...] = device[...]

        return call

    def _on_device(self, arrays: Sequence[Any]) -> list[CudaArray]:
        return [a if isinstance(a, CudaArray) else CudaArray(self.gpu, self._copies, a.shape) for a in arrays]

    def _context(
        self, io: Mapping[str, CudaArray], before: Sequence[CudaArray], after: Sequence[CudaArray]
    ) -> tensorrt_types.IExecutionContext:
        """An execution context with every shape and address set."""
        context = self._engine.create_execution_context()
        if context is None:
            raise PlifError(f"{self.plan.path}: no memory for another execution context ({self._reason()})")
        tensors = dict(io)
        for state, v, v_next in zip(self.card["states"], before, after, strict=True):
            tensors[state["input"]], tensors[state["output"]] = v, v_next
        outputs = {"y", *(state["output"] for state in self.card["states"])}
        for name, array in tensors.items():
            if name not in outputs and not context.set_input_shape(name, array.shape):
                raise PlifError(f"{self.plan.path}: {name} cannot be {list(array.shape)} ({self._reason()})")
        missing = context.infer_shapes()
        if missing:
            raise PlifError(f"{self.plan.path}: the engine wants more than its card says: {', '.join(missing)}")
        for name, array in tensors.items():
            if tuple(context.get_tensor_shape(name)) != tuple(array.shape):
                found = list(context.get_tensor_shape(name))
                raise PlifError(f"{self.plan.path}: {name} is {found} in the engine, {list(array.shape)} in the card")
            if not context.set_tensor_address(name, array.memory.address):
                raise PlifError(f"{self.plan.path}: {name} cannot be bound ({self._reason()})")
        return context

    def _recorded(
        self, context: tensorrt_types.IExecutionContext, stream: Stream, enqueue: Callable[[], None]
    ) -> Callable[[], None]:
        """The step as a CUDA graph; where the engine cannot be recorded, as it is, and a line says so."""
        capturable = getattr(context, "is_stream_capturable", None)  # TensorRT-RTX knows it beforehand
        try:
            if capturable is not None and not capturable(stream.handle):
                raise PlifError("TensorRT-RTX says that it cannot be")
            return stream.captured(enqueue)
        except PlifError as error:
            warnings.warn(
                f"{self.plan.path}: runs without a CUDA graph, so each step costs more launches: {error}",
                PlifWarning,
                stacklevel=2,
            )
            return enqueue

    def _reason(self) -> str:
        return str(logger_of(import_tensorrt(self.name)).reason())


class TensorRtRtxEngine(TensorRtEngine):
    """The same for TensorRT-RTX, whose plans are built ahead of time and finished for the GPU when they are opened."""

    name: ClassVar[str] = RTX


class _Step:
    """What one direction has for itself: a stream, x and y on the device, and pinned memory to bring them there."""

    def __init__(self, gpu: Gpu, x_shape: tuple[int, ...], y_shape: tuple[int, ...]) -> None:
        self.stream = gpu.stream()
        self.x, self.y = CudaArray(gpu, self.stream, x_shape), CudaArray(gpu, self.stream, y_shape)
        self.x_host, self.y_host = gpu.pinned(x_shape), gpu.pinned(y_shape)


def _deserialise(trt: ModuleType, plan: Plan) -> tensorrt_types.ICudaEngine:
    logger = logger_of(trt)
    logger.forget()
    engine = trt.Runtime(logger).deserialize_cuda_engine(plan.data)
    if engine is None:
        raise PlifError(
            f"{plan.path}: TensorRT cannot open the plan ({logger.reason()}); build it here: {plan.record['rebuild']}"
        )
    return engine


def _check_tensors(trt: ModuleType, engine: tensorrt_types.ICudaEngine, plan: Plan) -> None:
    """The engine's inputs and outputs must be those of the card, float32 all."""
    card = plan.card
    inputs = {card["graph"]["input"], *(state["input"] for state in card["states"])}
    outputs = {"y", *(state["output"] for state in card["states"])}
    found: dict[Any, set[str]] = {trt.TensorIOMode.INPUT: set(), trt.TensorIOMode.OUTPUT: set()}
    for i in range(engine.num_io_tensors):
        name = engine.get_tensor_name(i)
        found[engine.get_tensor_mode(name)].add(name)
        if engine.get_tensor_dtype(name) != trt.DataType.FLOAT:
            raise PlifError(f"{plan.path}: {name} is {engine.get_tensor_dtype(name)} in the engine; expected FLOAT")
    for kind, expected, has in (
        ("inputs", inputs, found[trt.TensorIOMode.INPUT]),
        ("outputs", outputs, found[trt.TensorIOMode.OUTPUT]),
    ):
        if expected != has:
            raise PlifError(
                f"{plan.path}: the engine's {kind} are {', '.join(sorted(has))}; its card says "
                f"{', '.join(sorted(expected))}; build it again: {plan.record['rebuild']}"
            )
