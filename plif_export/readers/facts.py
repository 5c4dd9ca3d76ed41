"""What a reader gives: a trained model as the exporter knows it, and what the card says about it beside the graph."""

from __future__ import annotations

from dataclasses import dataclass, field

from plif_export.options import CallerFacts
from plif_export.proof.reference import Reference
from plif_train.network import Network
from runtime.base.errors import PlifError
from runtime.events.framing import Framing
from runtime.model.graph import Graph, Shape


@dataclass(frozen=True)
class ModelFacts:
    """What the card of an artifact says about a model beside its graph.

    kind           "events" or "static" (images)
    shape          of the input of one step, without the batch: (C, H, W), or (N,) and (C, N) where there are no images
    T              time-steps of a sample
    classes        one name for each output, in order
    framing        how events become frames, in canonical text
    normalisation  {"mean": [C numbers], "std": [C numbers]} of images
    """

    notation: str | None
    kind: str
    shape: Shape
    T: int
    classes: tuple[str, ...]
    framing: str | None = None
    normalisation: dict[str, list[float]] | None = None

    @classmethod
    def of(cls, net: Network) -> ModelFacts:
        meta = net.meta
        return cls(str(net.notation), meta.kind, meta.shape, meta.T, meta.classes, meta.framing, meta.normalisation)

    @classmethod
    def from_caller(cls, caller: CallerFacts, graph: Graph) -> ModelFacts:
        """The facts of a model without a card, usual values where the caller said nothing.

        Raises PlifError where what the caller said fits neither the graph nor itself.
        """
        outputs = graph[graph.output].shape[0]
        classes = caller.classes or tuple(str(i) for i in range(outputs))
        if len(classes) != outputs:
            raise PlifError(f"--classes: {len(classes)} names for a network of {outputs} outputs; give {outputs}")
        kind = caller.kind or "events"
        if kind == "static" and caller.framing is not None:
            raise PlifError(f"--framing {caller.framing}: is for events, but the input is static images; leave it out")
        framed_T = None if caller.framing is None else Framing.parse(caller.framing).T
        T = caller.T or framed_T or 1
        if framed_T not in (None, T):
            raise PlifError(f"framing '{caller.framing}' says T={framed_T}, but --T is {T}; expected equal numbers")
        return cls(None, kind, tuple(graph.input_shape), T, classes, caller.framing)


@dataclass(frozen=True)
class TrainedModel:
    """A model as a reader leaves it.

    graph      its layers and float32 weights, before any pass
    reference  what the artifact is proved against
    sha256     of the file it was read from; None of a live module
    has_card   whether its facts come from a card of its own
    notes      lines for the user
    if_silent  what to say where no layer fires
    """

    graph: Graph
    reference: Reference
    facts: ModelFacts
    sha256: str | None = None
    has_card: bool = False
    notes: list[str] = field(default_factory=list)
    if_silent: str = ""
