"""Which engines can run on this machine, why the others cannot, and what to install: asked of what is installed, without
opening a file."""

from __future__ import annotations

import ctypes
import importlib.util
import re
import warnings
from collections.abc import Callable
from contextlib import redirect_stdout, suppress
from importlib import import_module
from io import StringIO
from pathlib import Path
from typing import NamedTuple

from runtime.base.errors import NVIDIA_INDEX, install_command
from runtime.engines import engine_names, vulkan

DRIVER = "libcuda.so.1"
# What a provider of ONNX Runtime is built for, where the libraries that it names, or the packages that it asks for, say it.
BUILT_FOR = {
    "CUDA": r"\blibcudart\.so\.(\d+)",
    "cuDNN": r"\b(?:libcudnn\.so\.|nvidia-cudnn-cu\d+~=)(\d+)",
    "TensorRT": r"\blibnvinfer\.so\.(\d+)",
}
TENSORRT = ("libnvinfer", "libnvonnxparser")


class Lack(NamedTuple):
    """Why an engine cannot run here, and what to install; each is half a line."""

    why: str
    install: str


def engine_lacks() -> dict[str, Lack | None]:
    """Each engine by name -> None where it can run, else what it lacks."""
    return {name: lack_of(name) for name in engine_names()}


def lack_of(name: str) -> Lack | None:
    """What that engine lacks here; None: it can run, as far as it can be told without a file."""
    return CHECKS.get(name, OTHER)[1]()


def why_not(name: str) -> str | None:
    """The same as one text."""
    lack = lack_of(name)
    return lack and f"{lack.why}: {lack.install}"


def what_is(name: str) -> str:
    """What an engine is, in a few words."""
    return CHECKS.get(name, OTHER)[0]


def _all(*lacks: Lack | None) -> Lack | None:
    there = [lack for lack in lacks if lack is not None]
    return Lack(*("; ".join(texts) for texts in zip(*there, strict=True))) if there else None


def _module(module: str, extra: str, name: str | None = None) -> Lack | None:
    if importlib.util.find_spec(module) is not None:
        return None
    return Lack(f"{name or module} is not installed", install_command(extra))


def _event() -> Lack | None:
    from runtime import native

    return (
        None
        if native.is_built()
        else Lack("the event engine is not built here", "install a C compiler, then plif again")
    )


def _driver() -> Lack | None:
    return None if _loads(DRIVER) else Lack(f"no NVIDIA driver ({DRIVER})", "install NVIDIA's driver")


def _loads(library: str) -> bool:
    try:
        ctypes.CDLL(library)
    except OSError:
        return False
    return True


def _provider(kind: str, name: str) -> Lack | None:
    """What a provider of ONNX Runtime (cuda, tensorrt) does not find. ONNX Runtime says this in its log alone: the error of a
    session that cannot be opened speaks of nodes on the CPU, or of conflicting settings."""
    if (lack := _module("onnxruntime", "gpu", "ONNX Runtime")) is not None:
        return lack
    import onnxruntime as ort

    provider = Path(ort.__file__).parent / "capi" / f"libonnxruntime_providers_{kind}.so"
    if not provider.is_file() and name not in ort.get_available_providers():
        return Lack(f"this ONNX Runtime has no {name}", "pip uninstall onnxruntime, then pip install 'plif[gpu]'")
    with redirect_stdout(StringIO()), warnings.catch_warnings(), suppress(ImportError):  # it prints what is said below
        warnings.simplefilter("ignore")
        ort.preload_dlls()  # CUDA and cuDNN of pip, which lie where the loader does not look
        import_module("tensorrt_libs")  # the same of TensorRT
    named = _printed_by("ldd", str(provider))
    said = f"{named} {_asked_for('onnxruntime-gpu')}"
    built_for = {what: found[1] for what, word in BUILT_FOR.items() if (found := re.search(word, said))}
    # cuDNN is loaded by name when a convolution first needs it
    wanted = [*re.findall(r"(\S+) => not found", named), *(f"libcudnn.so.{n}" for n in [built_for.get("cuDNN")] if n)]
    missing = [library for library in dict.fromkeys(wanted) if library != DRIVER and not _loads(library)]
    cuda = "pip install 'onnxruntime-gpu[cuda,cudnn]'"
    tensorrt = f"pip install {NVIDIA_INDEX} 'tensorrt-cu{built_for.get('CUDA')}=={built_for.get('TensorRT')}.*'"
    brings = dict.fromkeys(tensorrt if library.startswith(TENSORRT) else cuda for library in missing)
    versions = ", ".join(f"{what} {version}" for what, version in built_for.items())
    why = f"{name} of ONNX Runtime {ort.__version__} is built for {versions} and finds no {', '.join(missing)}"
    return Lack(why, "; ".join(brings)) if missing else None


def _printed_by(*command: str) -> str:
    import subprocess  # not at the top: who loads an artifact starts no process

    try:
        return subprocess.run(command, capture_output=True, text=True).stdout
    except OSError:  # a machine without it; ONNX Runtime then says what it can
        return ""


def _asked_for(package: str) -> str:
    """The packages that a package asks for with its extras."""
    from importlib.metadata import PackageNotFoundError, requires  # not at the top: it costs a tenth of NumPy

    try:
        return " ".join(requires(package) or ())
    except PackageNotFoundError:
        return ""


def _webgpu() -> Lack | None:
    missing = _module("onnxruntime", "cpu", "ONNX Runtime") or _module("onnxruntime_ep_webgpu", "webgpu")
    if missing is None and (lack := vulkan.no_adapter()) is not None:
        return Lack(*lack)
    return missing


Check = tuple[str, Callable[[], Lack | None]]
OTHER: Check = ("of another package, by an entry point", lambda: None)
# name -> what it is, and the check; an engine that is entered in ENGINES has its line here
CHECKS: dict[str, Check] = {
    "onnxruntime": ("ONNX Runtime on the CPU", lambda: _module("onnxruntime", "cpu", "ONNX Runtime")),
    "onnxruntime-cuda": (
        "ONNX Runtime on a GPU of NVIDIA, by CUDA: --device cuda",
        lambda: _all(_driver(), _provider("cuda", "CUDAExecutionProvider")),
    ),
    "onnxruntime-tensorrt": (
        "ONNX Runtime on a GPU of NVIDIA, by TensorRT",
        lambda: _all(_driver(), _provider("tensorrt", "TensorrtExecutionProvider")),
    ),
    "webgpu": ("ONNX Runtime on a GPU of any vendor, by its WebGPU plug-in", _webgpu),
    "event": ("plif's own, which adds up what fired", _event),
    "openvino": ("OpenVINO on the CPU, for --to openvino", lambda: _module("openvino", "openvino")),
    "tensorrt": (
        "TensorRT on the GPU that --to tensorrt built for",
        lambda: _all(_driver(), _module("tensorrt", "tensorrt", "TensorRT")),
    ),
    "tensorrt-rtx": (
        "TensorRT-RTX on a GPU, for --to tensorrt-rtx",
        lambda: _all(_driver(), _module("tensorrt_rtx_bindings", "tensorrt-rtx", "TensorRT-RTX")),
    ),
    "torch": ("PyTorch, for a model.pt itself", lambda: _module("torch", "train")),
}
