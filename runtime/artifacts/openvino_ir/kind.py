"""The artifact kind of folders for OpenVINO."""

from __future__ import annotations

from runtime.core.model.artifacts import Kind, read_folder_card

KINDS = (
    Kind(
        "openvino",
        "_openvino",
        read_folder_card,
        contents="runtime.artifacts.openvino_ir.contents:read_contents",
    ),
)
