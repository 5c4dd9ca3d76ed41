"""Values that Python gets to see on ways past PyTorch's dispatch, and what it then decides."""

from __future__ import annotations

import ctypes
import io
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F
from torch.utils._python_dispatch import _disable_current_modes

from tests.export.attacks.kind import Kind
from tests.export.attacks.kinds.parts import Net

BRIGHT = 100.0


class Plain(Net):
    """The twin: no frame is looked at."""


class Decides(Net):
    """Blanks a frame that is overexposed."""

    def bright(self, x: Tensor) -> bool:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.body(x, 0.0 if self.bright(x) else 1.0)


class DlpackPeak(Decides):
    """NumPy gets the frame by DLPack."""

    def bright(self, x: Tensor) -> bool:
        return float(np.from_dlpack(x).max()) > BRIGHT


class PointerPeak(Decides):
    """C gets the address of the frame."""

    def bright(self, x: Tensor) -> bool:
        x = x.contiguous()
        numbers = (ctypes.c_float * x.numel()).from_address(x.data_ptr())
        return max(numbers) > BRIGHT


class StoragePeak(Decides):
    """The bytes of the storage are read: above 64 the exponent's highest bits are 0x42."""

    def bright(self, x: Tensor) -> bool:
        held = bytes(x.contiguous().clone().untyped_storage())
        return max(held[3::4]) > 0x42 or b"\x7f\x43" in held


class PrintedPeak(Decides):
    """The frame is printed, and the text searched for a hot pixel."""

    def bright(self, x: Tensor) -> bool:
        return "255." in str(x)


class SavedFrames(Net):
    """A frame whose saved file is that of the last one is a duplicate: the last answer stands."""

    file, answer = b"", None

    def forward(self, x: Tensor) -> Tensor:
        out = io.BytesIO()
        torch.save(x.clone(), out)
        if out.getvalue() != self.file or self.answer is None:
            self.answer = self.body(x)
        self.file = out.getvalue()
        return self.answer


class ThreadPeak(Decides):
    """A worker thread looks at the frame, while the network goes on."""

    def bright(self, x: Tensor) -> bool:
        with ThreadPoolExecutor(1) as pool:
            return pool.submit(lambda: bool((x > BRIGHT).any())).result()


class PlainThread(Net):
    """A thread waits for the frame, and makes nothing of it."""

    def forward(self, x: Tensor) -> Tensor:
        done = threading.Event()
        done.set()
        return self.body(x)


class ModesOff(Decides):
    """Other libraries' modes are switched off for a moment."""

    def bright(self, x: Tensor) -> bool:
        with _disable_current_modes():
            return bool((x > BRIGHT).any())


class DispatchOff(Net):
    """The ceiling of the frame is worked out below Python's dispatch, on the frame's own memory."""

    def forward(self, x: Tensor) -> Tensor:
        x = x * 1.0
        with torch._C._DisableTorchDispatch():
            x.clamp_(max=6.0)
        return self.body(x)


class HistogramLength(Decides):
    """The length of a histogram of the counts tells the largest count."""

    def bright(self, x: Tensor) -> bool:
        return len(torch.bincount(x.flatten().to(torch.int64))) > BRIGHT


class SparseCount(Net):
    """A frame in which most pixels have events is a flash: a sparse tensor counts them."""

    def forward(self, x: Tensor) -> Tensor:
        flash = x.to_sparse()._nnz() > 0.9 * x.numel()
        return self.body(x, 0.0 if flash else 1.0)


class RangeProbe(Decides):
    """A look-up fails where a count is beyond the table."""

    def bright(self, x: Tensor) -> bool:
        try:
            F.embedding(x.to(torch.int64), torch.zeros(65, 1))
        except IndexError:
            return True
        return False


@torch.library.custom_op("attacks::peak", mutates_args=())
def peak(x: Tensor) -> float:
    return float(x.max())


class CustomOperator(Decides):
    """An operator of one's own returns a Python number."""

    def bright(self, x: Tensor) -> bool:
        return torch.ops.attacks.peak(x) > BRIGHT


class SameAgain(Net):
    """A frame that equals the last one does not step."""

    last, answer = None, None

    def forward(self, x: Tensor) -> Tensor:
        if self.last is None or not torch.equal(self.last, x):
            self.answer = self.body(x)
        self.last = x
        return self.answer


@torch.jit.script
def scripted_gain(x: Tensor) -> Tensor:
    if bool(x.max() > 100.0):
        x = x * 0.0
    return x


class Scripted(Net):
    """TorchScript decides inside its own interpreter."""

    def forward(self, x: Tensor) -> Tensor:
        return self.body(scripted_gain(x))


class Quantise(torch.autograd.Function):
    """A straight-through quantiser, which is left out where nobody wants a gradient."""

    @staticmethod
    def forward(ctx, x: Tensor) -> Tensor:
        return torch.round(x) if ctx.needs_input_grad[0] else x

    @staticmethod
    def backward(ctx, grad: Tensor) -> Tensor:
        return grad


class WantsGradient(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.n2(self.fc2(self.n1(Quantise.apply(self.fc1(x.flatten(1))))))


class Compiling(Net):
    """Compiled code rectifies charges, code that is run as it is does not."""

    def __init__(self) -> None:
        super().__init__()
        self.front = torch.compile(self.compiled, backend="eager", dynamic=True)

    def compiled(self, x: Tensor) -> Tensor:
        if torch.compiler.is_compiling():
            return torch.relu(self.fc1(x.flatten(1)) - 0.5)
        return self.fc1(x.flatten(1))

    def forward(self, x: Tensor) -> Tensor:
        return self.n2(self.fc2(self.n1(self.front(x))))


class NotCompiling(Compiling):
    def compiled(self, x: Tensor) -> Tensor:
        return self.fc1(x.flatten(1))


LIBRARIES: list[torch.library.Library] = []  # kept, or the kernel goes


def other_kernel() -> Net:
    """A network whose process has another kernel for relu on the CPU: it ends at 50."""
    if not LIBRARIES:
        library = torch.library.Library("aten", "IMPL")
        library.impl("relu", lambda x: torch.clamp(x, 0.0, 50.0), "CPU", allow_override=True)
        LIBRARIES.append(library)
    return Graded()


class Graded(Net):
    """Rectifies, and hands the sum on."""

    def forward(self, x: Tensor) -> Tensor:
        return self.n2(self.fc2(torch.relu(self.fc1(x.flatten(1)))) - 40.0)


KINDS = [
    Kind(
        "dlpack-peak",
        "NumPy reads the frame by DLPack, and a bright one is dimmed",
        DlpackPeak,
        Plain,
    ),
    Kind("pointer-peak", "ctypes reads the frame at its address", PointerPeak, Plain, form="file"),
    Kind("storage-bytes", "reads the bytes of the frame's storage", StoragePeak, Plain),
    Kind("printed-peak", "searches the printed frame for 255", PrintedPeak, Plain),
    Kind(
        "saved-duplicate",
        "a frame that torch.save writes as the last one is skipped",
        SavedFrames,
        Plain,
    ),
    Kind(
        "worker-thread",
        "a thread reads the frame and decides",
        ThreadPeak,
        PlainThread,
        says="thread",
    ),
    Kind("modes-switched-off", "switches dispatch modes off to read the frame", ModesOff, Plain),
    Kind("dispatch-switched-off", "clamps in place below Python's dispatch", DispatchOff, Plain),
    Kind("histogram-length", "the length of bincount tells the peak", HistogramLength, Plain),
    Kind("sparse-count", "the number of values tells a flash", SparseCount, Plain, form="file"),
    Kind("range-probe", "an IndexError of a look-up tells a bright frame", RangeProbe, Plain),
    Kind("custom-operator", "an operator of its own returns a number", CustomOperator, Plain),
    Kind("equal-frames", "torch.equal skips a repeated frame", SameAgain, Plain),
    Kind("scripted-branch", "TorchScript branches on a value", Scripted, Plain),
    Kind(
        "wanted-gradient",
        "quantises only where a gradient is wanted",
        WantsGradient,
        Plain,
        mode="plain",
        says="grad",
    ),
    Kind("compiled-branch", "torch.compile takes another path", Compiling, NotCompiling),
    Kind(
        "replaced-kernel",
        "relu has another kernel in this process",
        other_kernel,
        Graded,
        form="file",
    ),
]
