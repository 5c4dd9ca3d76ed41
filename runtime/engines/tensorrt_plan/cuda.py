"""CUDA for a TensorRT engine: memory, copies, CUDA streams and graphs, through the driver's C interface (ctypes).

Reason for not using cuda-python: every machine with a GPU has libcuda.so.1, under one name and with stable functions
from CUDA 11.4 to 13, on a Jetson and on a server. A Python package in between would have to match JetPack's CUDA, and
would save nothing: these are two dozen functions. All work is done in the device's primary context, which TensorRT uses
as well.
"""

from __future__ import annotations

import ctypes
import weakref
from collections.abc import Callable
from ctypes import POINTER, byref, c_char, c_char_p, c_int, c_size_t, c_uint, c_uint64, c_void_p
from functools import lru_cache

import numpy as np

from runtime.core.base.errors import PlifError

LIBRARY = "libcuda.so.1"

# Results and constants of cuda.h.
SUCCESS = 0
COMPUTE_CAPABILITY_MAJOR, COMPUTE_CAPABILITY_MINOR = 75, 76
STREAM_NON_BLOCKING = 1  # this stream and the default stream do not wait for each other
CAPTURE_THREAD_LOCAL = 1  # other threads may allocate memory during the capture

_SIGNATURES: dict[str, tuple[type, ...]] = {
    "cuInit": (c_uint,),
    "cuDeviceGetCount": (POINTER(c_int),),
    "cuDeviceGet": (POINTER(c_int), c_int),
    "cuDeviceGetName": (POINTER(c_char), c_int, c_int),
    "cuDeviceGetAttribute": (POINTER(c_int), c_int, c_int),
    "cuDevicePrimaryCtxRetain": (POINTER(c_void_p), c_int),
    "cuCtxSetCurrent": (c_void_p,),
    "cuGetErrorName": (c_int, POINTER(c_char_p)),
    "cuMemAlloc_v2": (POINTER(c_uint64), c_size_t),
    "cuMemFree_v2": (c_uint64,),
    "cuMemHostAlloc": (POINTER(c_void_p), c_size_t, c_uint),
    "cuMemFreeHost": (c_void_p,),
    "cuMemcpyHtoDAsync_v2": (c_uint64, c_void_p, c_size_t, c_void_p),
    "cuMemcpyDtoHAsync_v2": (c_void_p, c_uint64, c_size_t, c_void_p),
    "cuMemsetD8Async": (c_uint64, ctypes.c_ubyte, c_size_t, c_void_p),
    "cuStreamCreate": (POINTER(c_void_p), c_uint),
    "cuStreamDestroy_v2": (c_void_p,),
    "cuStreamSynchronize": (c_void_p,),
    "cuStreamBeginCapture_v2": (c_void_p, c_int),
    "cuStreamEndCapture": (c_void_p, POINTER(c_void_p)),
    "cuGraphInstantiateWithFlags": (POINTER(c_void_p), c_void_p, ctypes.c_ulonglong),
    "cuGraphLaunch": (c_void_p, c_void_p),
    "cuGraphDestroy": (c_void_p,),
    "cuGraphExecDestroy": (c_void_p,),
}


class CudaError(PlifError):
    """The error of a failed call of the CUDA driver: one line with the driver's name for the reason."""


@lru_cache(maxsize=8)
def open_gpu(device: str = "cuda:0") -> Gpu:
    """Open the GPU of a device name, cuda or cuda:N; refuse a missing one."""
    return Gpu(parse_device(device))


def parse_device(device: str, context: str = "") -> int:
    """Parse a device name: cuda or cuda:N -> N.

    `context` begins the message for any other text.
    """
    kind, colon, number = device.partition(":")
    if kind != "cuda" or (colon and not number.isdecimal()):
        raise PlifError(f"{context}device '{device}': expected cuda or cuda:N")
    return int(number or 0)


class Gpu:
    """One GPU: its name, and the memory and CUDA streams on it.

    Any thread may use it after a call of `use()`.
    """

    def __init__(self, index: int) -> None:
        try:
            self._library = ctypes.CDLL(LIBRARY)
        except OSError:
            raise PlifError(f"device cuda:{index}: no NVIDIA driver ({LIBRARY}) on this machine") from None
        for name, arguments in _SIGNATURES.items():
            try:
                function = getattr(self._library, name)
            except AttributeError:
                raise PlifError(f"{LIBRARY} has no {name}: the driver is older than CUDA 11.4; update it") from None
            function.argtypes, function.restype = arguments, c_int
        self._call("cuInit", 0)
        count, device, major, minor, context = c_int(), c_int(), c_int(), c_int(), c_void_p()
        self._call("cuDeviceGetCount", byref(count))
        if index >= count.value:
            raise PlifError(f"device cuda:{index}: this machine has {count.value} GPUs, counted from cuda:0")
        self._call("cuDeviceGet", byref(device), index)
        name_of = ctypes.create_string_buffer(256)
        self._call("cuDeviceGetName", name_of, len(name_of), device.value)
        self._call("cuDeviceGetAttribute", byref(major), COMPUTE_CAPABILITY_MAJOR, device.value)
        self._call("cuDeviceGetAttribute", byref(minor), COMPUTE_CAPABILITY_MINOR, device.value)
        self._call("cuDevicePrimaryCtxRetain", byref(context), device.value)
        self.index = index
        self.name = name_of.value.decode("utf-8", "replace")
        self.compute_capability = f"{major.value}.{minor.value}"
        self._context = context
        self.use()

    def use(self) -> None:
        """Make this GPU the current one of the calling thread."""
        self._call("cuCtxSetCurrent", self._context)

    def create_stream(self) -> CudaStream:
        """Create a CUDA stream that does not wait for the default one."""
        handle = c_void_p()
        self._call("cuStreamCreate", byref(handle), STREAM_NON_BLOCKING)
        return CudaStream(self, handle)

    def allocate(self, size: int) -> Memory:
        """Allocate `size` bytes on the GPU, not initialised.

        They are aligned to at least 256 bytes, as TensorRT requires.
        """
        address = c_uint64()
        self._call("cuMemAlloc_v2", byref(address), max(size, 1))
        return Memory(self, address.value, size)

    def allocate_pinned(self, shape: tuple[int, ...]) -> np.ndarray:
        """Allocate zeros, float32 [*shape], in pinned host memory, for copies to the device without staging.

        The memory is freed with its last view.
        """
        size = int(np.prod(shape)) * 4
        address = c_void_p()
        self._call("cuMemHostAlloc", byref(address), max(size, 1), 0)
        assert address.value is not None
        block = (c_char * max(size, 1)).from_address(address.value)
        weakref.finalize(block, self._free, "cuMemFreeHost", address)
        array = np.frombuffer(memoryview(block), np.float32, int(np.prod(shape))).reshape(shape)
        array[...] = 0
        return array

    def _call(self, name: str, *arguments: object) -> None:
        code = getattr(self._library, name)(*arguments)
        if code != SUCCESS:
            text = c_char_p()
            self._library.cuGetErrorName(code, byref(text))
            raise CudaError(f"CUDA: {name} failed with {(text.value or b'an unknown error').decode()} ({code})")

    def _free(self, name: str, *arguments: object) -> None:
        """Free an object of the CUDA driver, for finalizers.

        Results are ignored: at the end of the process the driver may no longer exist.
        """
        self._library.cuCtxSetCurrent(self._context)
        getattr(self._library, name)(*arguments)


class Memory:
    """A block of memory on a GPU; freed with the object."""

    def __init__(self, gpu: Gpu, address: int, size: int) -> None:
        self.address, self.size = address, size
        weakref.finalize(self, gpu._free, "cuMemFree_v2", address)


class CudaStream:
    """A CUDA stream: a queue of work for the GPU."""

    def __init__(self, gpu: Gpu, handle: c_void_p) -> None:
        self._gpu, self._handle = gpu, handle
        weakref.finalize(self, gpu._free, "cuStreamDestroy_v2", handle)

    @property
    def handle(self) -> int:
        """The address of the CUDA stream, as TensorRT expects it."""
        return self._handle.value or 0

    def wait(self) -> None:
        """Wait until all work in a CUDA stream is done."""
        self._gpu._call("cuStreamSynchronize", self._handle)

    def copy_to_device(self, memory: Memory, source: np.ndarray) -> None:
        """Copy a contiguous array [...] of any dtype to the GPU."""
        self._gpu._call("cuMemcpyHtoDAsync_v2", memory.address, source.ctypes.data, source.nbytes, self._handle)

    def copy_to_host(self, target: np.ndarray, memory: Memory) -> None:
        """Copy GPU memory into a contiguous array [...] of any dtype."""
        self._gpu._call("cuMemcpyDtoHAsync_v2", target.ctypes.data, memory.address, target.nbytes, self._handle)

    def zero(self, memory: Memory) -> None:
        self._gpu._call("cuMemsetD8Async", memory.address, 0, memory.size, self._handle)

    def capture(self, work: Callable[[], None]) -> Callable[[], None]:
        """Record the work that `work` puts into a CUDA stream as a CUDA graph; return a function that launches it.

        The work itself is not done. Raise the error of `work`, and CudaError where the driver cannot record it.
        """
        gpu = self._gpu
        graph, launchable = c_void_p(), c_void_p()
        gpu._call("cuStreamBeginCapture_v2", self._handle, CAPTURE_THREAD_LOCAL)
        try:
            work()
        except BaseException:
            gpu._library.cuStreamEndCapture(self._handle, byref(graph))  # the stream is usable again, the graph is not
            raise
        gpu._call("cuStreamEndCapture", self._handle, byref(graph))
        try:
            gpu._call("cuGraphInstantiateWithFlags", byref(launchable), graph, 0)
        finally:
            gpu._call("cuGraphDestroy", graph)

        def launch() -> None:
            gpu._call("cuGraphLaunch", launchable, self._handle)

        weakref.finalize(launch, gpu._free, "cuGraphExecDestroy", launchable)
        return launch
