"""Switches that stop the telemetry of third-party libraries; set before any of them is imported.

Importing `runtime`, `plif_train` or `plif_export` is enough. A variable that the user has set stays as it is. To add
a library, enter its switch here; tests/pipeline/test_nothing_is_sent.py watches every command.

Checked, and found to report nothing by themselves: PyTorch, onnx, h5py, Matplotlib, TensorBoard, Lightning, uvicorn,
starlette, tritonclient, TensorRT for RTX, SpikingJelly, snnTorch, Norse, NIR, rosbags, MkDocs and its theme,
Hypothesis, mypy.
"""

from __future__ import annotations

import os
import sys

ENVIRONMENT = {
    # ONNX Runtime, 1.29 and later (core/platform/telemetry_1ds.cc), and its WebGPU plug-in: to Microsoft; keeps a number of this
    # machine in ~
    "ORT_DISABLE_TELEMETRY": "1",
    # Ray (ray/_common/usage/usage_lib.py): to usage-stats.ray.io
    "RAY_USAGE_STATS_ENABLED": "0",
}
# Packages that only report; the libraries that import them work without them.
REPORTERS = (
    # OpenVINO has no variable for it. `import openvino` (tools/ovc/telemetry_utils.py) puts an id into ~/intel and sends an event
    # to Google Analytics, unless ~/intel/openvino_telemetry says 0, or this package is missing: then it takes a stub of its own.
    "openvino_telemetry",
)
# The environment of a Ray node that serves this machine alone.
RAY_NODE = {
    # As Ray does off Linux (ray/_private/services.py): its processes meet at 127.0.0.1, and no socket to 8.8.8.8 is opened in
    # order to learn this machine's address. Ray reads it when it is imported.
    "RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER": "0",
    # Even without statistics, Ray asks the metadata services of three clouds where it runs (usage_lib.py, with requests): it
    # asks the port of this machine at which nobody listens.
    "http_proxy": "http://127.0.0.1:9",
    "no_proxy": "localhost,127.0.0.1",
}


def disable_telemetry() -> None:
    """Switch off the telemetry of third-party libraries in this process and, by environment, in its children."""
    for name, value in ENVIRONMENT.items():
        os.environ.setdefault(name, value)
    for name in REPORTERS:
        sys.modules.setdefault(name, None)  # type: ignore[arg-type]  # None makes the import fail
