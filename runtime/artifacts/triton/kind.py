"""What plif knows of a model repository as an artifact."""

from __future__ import annotations

from runtime.model.artifacts import Kind, read_folder_card

KINDS = (
    Kind(
        "triton",
        "_triton",
        read_folder_card,
        instead="it is served: tritonserver --model-repository=FOLDER, and stepped with runtime.engines.triton.TritonSession",
        contents="runtime.artifacts.triton.contents:read_contents",
    ),
)
