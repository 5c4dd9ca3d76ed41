"""The certificate next to an ONNX file (certificate.py)."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from plif_export.core.pipeline import ProvedArtifact


def hear(proved: ProvedArtifact) -> str | None:
    """Return the certificate's text for a proved ONNX file of one time-step a call; None for other artifacts.

    Fails the report if the file does not give the certified values.
    """
    if (proved.target, proved.card["form"]) != ("onnx", "step"):
        return None
    from plif_export.observers.certificate.certificate import certify

    judge = proved.model if proved.card["precision"] == "fp32" else proved.graph
    of = {"name": proved.name, "sha256": proved.sha256}
    return certify(proved.proto, proved.card, judge, proved.model, proved.report, proved.seed, **of)
