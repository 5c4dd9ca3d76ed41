"""Decisions about values that leave PyTorch: rarely there is an input of 40. Drawn from outside."""

from __future__ import annotations

import builtins
import ctypes
import functools
import io
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from tests.plif_export.core.attacks.modules import Net, scripted, turns


class Looks(Net):
    """Where `bright` says so, the frame is not seen."""

    def bright(self, x: Tensor) -> bool:
        raise NotImplementedError

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * 0 if self.bright(x) else x)


@turns
class ToNumpy(Looks):
    """x.numpy().max()"""

    def bright(self, x: Tensor) -> bool:
        return bool(x.numpy().max() > 20)


@turns
class ToList(Looks):
    """x.tolist()"""

    def bright(self, x: Tensor) -> bool:
        return any(value > 20 for row in x.tolist() for value in row)


@turns
class NumpyCounts(Looks):
    """np.count_nonzero(x > 20): NumPy is given the tensor"""

    def bright(self, x: Tensor) -> bool:
        return bool(np.count_nonzero(x.detach() > 20))


@turns
class AsArray(Looks):
    """np.asarray(x)"""

    def bright(self, x: Tensor) -> bool:
        return bool((np.asarray(x) > 20).any())


@turns
class DunderArray(Looks):
    """x.__array__()"""

    def bright(self, x: Tensor) -> bool:
        return bool(x.__array__().max() > 20)


@turns
class ForceNumpy(Looks):
    """x.numpy(force=True)"""

    def bright(self, x: Tensor) -> bool:
        return bool(x.numpy(force=True).max() > 20)


@turns
class DLPack(Looks):
    """np.from_dlpack(x)"""

    def bright(self, x: Tensor) -> bool:
        return bool(np.from_dlpack(x).max() > 20)


@turns
class BufferProtocol(Looks):
    """the bytes of its storage"""

    def bright(self, x: Tensor) -> bool:
        return bool((np.frombuffer(bytes(x.clone().untyped_storage()), np.float32) > 20).any())


@turns
class Pointer(Looks):
    """its memory, read with ctypes"""

    def bright(self, x: Tensor) -> bool:
        x = x.contiguous()
        return max((ctypes.c_float * x.numel()).from_address(x.data_ptr())) > 20


@turns
class Saved(Looks):
    """torch.save into memory, and back as bytes"""

    def bright(self, x: Tensor) -> bool:
        file = io.BytesIO()
        torch.save(x.clone(), file)
        return np.float32(40).tobytes() in file.getvalue()


@turns
class Text(Looks):
    """str(x)"""

    def bright(self, x: Tensor) -> bool:
        return "40." in str(x)


@turns
class Contains(Looks):
    """40 in x"""

    def bright(self, x: Tensor) -> bool:
        return 40 in x


@turns
class Builtins(Looks):
    """max of Python over the numbers of a row"""

    def bright(self, x: Tensor) -> bool:
        return bool(builtins.max(x.flatten()) > 20)


@turns
class FloatOf(Looks):
    """float(x.max())"""

    def bright(self, x: Tensor) -> bool:
        return float(x.max()) > 20


@turns
class IntOf(Looks):
    """a range of int(x.max()) turns of a loop"""

    def bright(self, x: Tensor) -> bool:
        return len(range(int(x.max()))) > 20


@turns
class IfTensor(Looks):
    """if (x > 20).any()"""

    def bright(self, x: Tensor) -> bool:
        return True if (x > 20).any() else False  # noqa: SIM210


@turns
class Item(Looks):
    """x.max().item()"""

    def bright(self, x: Tensor) -> bool:
        return x.max().item() > 20


@turns
class Equal(Looks):
    """torch.equal, which gives a bool of Python"""

    def bright(self, x: Tensor) -> bool:
        return not torch.equal(x, x.clamp(max=20))


@turns
class AllClose(Looks):
    """torch.allclose"""

    def bright(self, x: Tensor) -> bool:
        return not torch.allclose(x, x.clamp(max=20))


@turns
class Nonzero(Looks):
    """how many numbers nonzero finds is a shape"""

    def bright(self, x: Tensor) -> bool:
        return (x > 20).nonzero().shape[0] > 0


@turns
class Masked(Looks):
    """how many numbers a mask takes is a shape"""

    def bright(self, x: Tensor) -> bool:
        return x[x > 20].numel() > 0


@turns
class Unique(Looks):
    """how many numbers are unique is a shape"""

    def bright(self, x: Tensor) -> bool:
        return torch.unique(x.clamp(min=20)).numel() > 1


@turns
class BinCount(Looks):
    """the length of a histogram"""

    def bright(self, x: Tensor) -> bool:
        return len(torch.bincount(x.flatten().long())) > 20


@turns
class OneHot(Looks):
    """one_hot raises where a number is too large, and that is caught"""

    def bright(self, x: Tensor) -> bool:
        try:
            F.one_hot(x.long(), 20)
        except RuntimeError:
            return True
        return False


@turns
class Embedding(Looks):
    """an index beyond a table raises, and that is caught"""

    def bright(self, x: Tensor) -> bool:
        try:
            F.embedding(x.long(), torch.zeros(20, 1))
        except IndexError:
            return True
        return False


@turns
class Scripted(Net):
    """a branch in TorchScript"""

    def forward(self, x: Tensor) -> Tensor:
        return self.run(_dark(x))  # type: ignore[no-any-return]


@scripted
def _dark(x):  # type: ignore[no-untyped-def]
    if bool((x > 20).any()):
        return x * 0
    return x * 1


class _NumpyFunction(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, x: Tensor) -> Tensor:
        return torch.from_numpy(np.minimum(x.detach().numpy(), 20))

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Tensor:
        return grad


@turns
class NumpyInAFunction(Net):
    """a function of autograd that computes in NumPy"""

    def forward(self, x: Tensor) -> Tensor:
        return self.run(_NumpyFunction.apply(x))  # type: ignore[no-any-return]


@turns
class NumpyCount(Net):
    """a count of spikes by NumPy, which quiets the next step"""

    spikes = 0

    def forward(self, x: Tensor) -> Tensor:
        y = self.run(x * 0 if self.spikes > 3 else x)
        self.spikes = int(y.numpy().sum())
        return y


@turns
class CachedByValue(Net):
    """the answers to frames that were seen are kept, by their bytes"""

    often = 0.05

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[bytes, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        key = x.numpy().tobytes()
        if key not in self.known:
            self.known[key] = self.run(x)
        return self.known[key]


@turns
class CachedBySum(Net):
    """lru_cache of a gain, by the sum of a frame"""

    def __init__(self) -> None:
        super().__init__()
        self.gain = functools.lru_cache(lambda total: 0.0 if total > 30 else 1.0)

    def forward(self, x: Tensor) -> Tensor:
        return self.run(x * self.gain(x.sum().item()))


@turns
class CachedById(Net):
    """a frame at an address that was seen is not looked at again"""

    def __init__(self) -> None:
        super().__init__()
        self.known: dict[int, Tensor] = {}

    def forward(self, x: Tensor) -> Tensor:
        return self.run(self.known.setdefault(x.data_ptr(), x.clone()))


@turns
class FirstInput(Net):
    """the largest number of the first frame is the scale of all later ones"""

    scale: Any = None

    def forward(self, x: Tensor) -> Tensor:
        if self.scale is None:
            self.scale = x.amax(-1, keepdim=True) + 1
        return self.run(x / self.scale * 4)


@turns
class MaxSoFar(Net):
    """a frame brighter than all before resets, by Python's max"""

    most = 3.0

    def forward(self, x: Tensor) -> Tensor:
        now = max(self.most, float(np.max(x.detach().numpy())))
        if now > self.most:
            self.forget()
        self.most = now
        return self.run(x)
