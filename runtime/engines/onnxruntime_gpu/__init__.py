"""ONNX Runtime's providers for NVIDIA GPUs, and the search for their missing requirements."""

from __future__ import annotations

import re
import warnings
from contextlib import redirect_stdout, suppress
from importlib import import_module
from io import StringIO
from pathlib import Path

from runtime.core.engines.available import MissingRequirement, check_module, join_missing
from runtime.engines.tensorrt_plan import DRIVER, NVIDIA_INDEX, can_load, check_driver

# The versions that a provider of ONNX Runtime is built for, from the libraries or packages that it requires.
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


def find_missing(name: str) -> MissingRequirement | None:
    """Find the missing requirement of an engine on an NVIDIA GPU, or None."""
    return join_missing(check_driver(), _check_provider(*PROVIDERS[name]))


def _check_provider(library: str, name: str) -> MissingRequirement | None:
    """Find the libraries that a provider of ONNX Runtime misses, or None.

    ONNX Runtime reports this in its log alone: the error of a session that cannot be opened speaks of nodes on the
    CPU, or of conflicting settings.
    """
    if (missing_package := check_module("onnxruntime", "gpu", "ONNX Runtime")) is not None:
        return missing_package
    import onnxruntime as ort

    provider = Path(ort.__file__).parent / "capi" / library
    if not provider.is_file() and name not in ort.get_available_providers():
        return MissingRequirement(
            f"this ONNX Runtime has no {name}", "pip uninstall onnxruntime, then pip install 'plif[gpu]'"
        )
    with redirect_stdout(StringIO()), warnings.catch_warnings(), suppress(ImportError):  # it prints what is said below
        warnings.simplefilter("ignore")
        ort.preload_dlls()  # CUDA and cuDNN of pip, which lie where the loader does not look
        import_module("tensorrt_libs")  # the same of TensorRT
    linked = _run_command("ldd", str(provider))
    requirements = f"{linked} {_requirements('onnxruntime-gpu')}"
    built_for = {product: match[1] for product, word in BUILT_FOR.items() if (match := re.search(word, requirements))}
    # cuDNN is loaded by name when a convolution first needs it
    needed = [*re.findall(r"(\S+) => not found", linked), *(f"libcudnn.so.{n}" for n in [built_for.get("cuDNN")] if n)]
    missing = [library for library in dict.fromkeys(needed) if library != DRIVER and not can_load(library)]
    cuda = "pip install 'onnxruntime-gpu[cuda,cudnn]'"
    tensorrt = f"pip install {NVIDIA_INDEX} 'tensorrt-cu{built_for.get('CUDA')}=={built_for.get('TensorRT')}.*'"
    brings = dict.fromkeys(tensorrt if library.startswith(TENSORRT) else cuda for library in missing)
    versions = ", ".join(f"{product} {version}" for product, version in built_for.items())
    why = f"{name} of ONNX Runtime {ort.__version__} is built for {versions} and finds no {', '.join(missing)}"
    return MissingRequirement(why, "; ".join(brings)) if missing else None


def _run_command(*command: str) -> str:
    import subprocess  # imported here: loading an artifact starts no process

    try:
        return subprocess.run(command, capture_output=True, text=True).stdout
    except OSError:  # a machine without it; ONNX Runtime then says what it can
        return ""


def _requirements(package: str) -> str:
    """Return the requirements of an installed package, with its extras, as one text."""
    from importlib.metadata import PackageNotFoundError, requires  # not at the top: it costs a tenth of NumPy

    try:
        return " ".join(requires(package) or ())
    except PackageNotFoundError:
        return ""
