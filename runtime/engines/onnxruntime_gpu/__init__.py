"""ONNX Runtime's providers for GPUs of NVIDIA, and what they lack here."""

from __future__ import annotations

import re
import warnings
from contextlib import redirect_stdout, suppress
from importlib import import_module
from io import StringIO
from pathlib import Path

from runtime.core.engines.available import Lack, all_of, missing_module
from runtime.engines.tensorrt_plan import DRIVER, NVIDIA_INDEX, loads, no_driver

# What a provider of ONNX Runtime is built for, where the libraries that it names, or the packages that it asks for, say it.
BUILT_FOR = {
    "CUDA": r"\blibcudart\.so\.(\d+)",
    "cuDNN": r"\b(?:libcudnn\.so\.|nvidia-cudnn-cu\d+~=)(\d+)",
    "TensorRT": r"\blibnvinfer\.so\.(\d+)",
}
TENSORRT = ("libnvinfer", "libnvonnxparser")
# name of an engine -> the library of its provider, and its name
PROVIDERS = {
    "onnxruntime-cuda": ("libonnxruntime_providers_cuda.so", "CUDAExecutionProvider"),
    "onnxruntime-tensorrt": ("libonnxruntime_providers_tensorrt.so", "TensorrtExecutionProvider"),
}


def lack(name: str) -> Lack | None:
    """What an engine lacks here."""
    return all_of(no_driver(), _provider(*PROVIDERS[name]))


def _provider(library: str, name: str) -> Lack | None:
    """What a provider of ONNX Runtime does not find. ONNX Runtime says this in its log alone: the error of a
    session that cannot be opened speaks of nodes on the CPU, or of conflicting settings."""
    if (lack := missing_module("onnxruntime", "gpu", "ONNX Runtime")) is not None:
        return lack
    import onnxruntime as ort

    provider = Path(ort.__file__).parent / "capi" / library
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
    missing = [library for library in dict.fromkeys(wanted) if library != DRIVER and not loads(library)]
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
