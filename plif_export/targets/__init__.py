"""Targets: what `--to` can name. A target turns a proved ONNX form of a network into the file or folder that its engine opens.

An export reads the model, runs the passes, writes the graph as ONNX in the target's dialect, proves that, and then asks the
target to write its own artifact from it (for `onnx` that is the proved file itself). Where this machine has an engine for the
target, the written artifact is opened and has to pass the gate as well; elsewhere the card says "not run".

To add a target, write a file beside this one with a subclass of Target and enter it in TARGETS.
"""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from plif_export.options import BUDGETS
from plif_export.targets.target import Target
from runtime.base.errors import PlifError

# name -> "module:class"; imported when asked for, so that an extra is needed only by who uses it
TARGETS: dict[str, str] = {
    "onnx": "plif_export.targets.onnx:OnnxTarget",
    "plif": "plif_export.targets.plif.target:PlifTarget",
    "openvino": "plif_export.targets.openvino:OpenVinoTarget",
    "nir": "plif_export.targets.nir:NirTarget",
    "triton": "plif_export.targets.triton:TritonTarget",
    "tensorrt": "plif_export.targets.tensorrt:TensorRtTarget",
    "tensorrt-rtx": "plif_export.targets.tensorrt:TensorRtRtxTarget",
    "c": "plif_export.targets.c:CTarget",
    "web": "plif_export.targets.web:WebTarget",
}
LAYOUTS = {("c", "arduino"): "plif_export.targets.c_library:ArduinoTarget"}  # of the same artifact, by --set layout=


def find_target(name: str, options: Mapping[str, str] | None = None) -> Target:
    """The target of that name. Raises PlifError for an unknown one, and for `--set` options that it does not have."""
    if name not in TARGETS:
        raise PlifError(f"--to {name}: this version writes {', '.join(TARGETS)}")
    module, attribute = LAYOUTS.get((name, (options or {}).get("layout", "")), TARGETS[name]).split(":")
    target: Target = getattr(import_module(module), attribute)()
    for option in options or {}:
        if option not in target.options:
            known = f"it has {', '.join(target.options)}" if target.options else "it has none"
            flag = f"--{option}" if option in BUDGETS else f"--set {option}"
            raise PlifError(f"{flag}: --to {name} has no such option; {known}")
    return target
