"""What a reader gives: a trained model as the exporter knows it, and what the card says about it beside the graph."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from plif_export.core.options import CallerFacts
from plif_export.core.proof.reference import Reference
from plif_export.core.readers.rules import Problem
from plif_train.core.network.network import Network
from plif_train.core.network.presets import PRESETS
from runtime.core.base.errors import PlifError
from runtime.core.events.framing import Framing
from runtime.core.model.card import Card
from runtime.core.model.graph import Graph, Node, Shape

CLAIMS = ("classes", "framing", "kind", "T")  # what a card says of a model that its weights do not show


def unsaid_by(caller: CallerFacts) -> tuple[str, ...]:
    """Which of CLAIMS the caller leaves open; a framing for events says that the input is events, and may say T."""
    framing = None if caller.framing is None else Framing.parse(caller.framing)
    said = {"T": framing is not None and framing.T is not None, "kind": framing is not None}
    return tuple(name for name in CLAIMS if getattr(caller, name) is None and not said.get(name, False))


@dataclass(frozen=True)
class ModelFacts:
    """What the card of an artifact says about a model beside its graph.

    kind           "events" or "static" (images)
    shape          of the input of one step, without the batch: (C, H, W), or (N,) and (C, N) where there are no images
    T              time-steps of a sample
    classes        one name for each output, in order
    framing        how events become frames, in canonical text
    normalisation  {"mean": [C numbers], "std": [C numbers]} of images
    view           "upright": recordings that their format stores turned must be turned; None: as stored
    sensor         (width, height) of the recordings that it was trained on; None where it is not known
    trained_on     what those recordings were like (runtime/core/events/fit.py); None where it is not known
    decide         the model's card's: by which rule feeds are decided; None: not said
    unsaid         which of CLAIMS neither the model nor its owner said: usual values stand in for them
    """

    notation: str | None
    kind: str
    shape: Shape
    T: int
    classes: tuple[str, ...]
    framing: str | None = None
    normalisation: dict[str, list[float]] | None = None
    unsaid: tuple[str, ...] = ()
    view: str | None = None
    sensor: tuple[int, int] | None = None
    trained_on: dict[str, object] | None = None
    decide: dict[str, object] | None = None

    @property
    def classes_named(self) -> bool:
        """Whether somebody named the classes; else they are numbers."""
        return "classes" not in self.unsaid

    def as_claimed(self, card: Card) -> ModelFacts:
        """These facts with what nobody said taken from the card of an artifact, which a proof then cannot judge."""
        claimed = {
            "classes": tuple(card["classes"]),
            "framing": card["framing"],
            "kind": card["input"]["kind"],
            "T": card["T"],
        }
        return replace(self, **{name: claimed[name] for name in self.unsaid})

    @classmethod
    def of(cls, net: Network) -> ModelFacts:
        meta = net.meta
        claimed = {name: getattr(meta, name) for name in ("kind", "shape", "T", "classes", "framing", "normalisation")}
        seen = {name: getattr(meta, name) for name in ("view", "sensor", "trained_on", "decide")}
        return cls(str(net.notation), **claimed, **seen)

    @classmethod
    def from_caller(cls, caller: CallerFacts, graph: Graph) -> ModelFacts:
        """The facts of a model without a card, usual values where the caller said nothing.

        Raises PlifError where what the caller said fits neither the graph nor itself.
        """
        outputs = graph[graph.output].shape[0]
        caller = named_by(caller, graph.input_shape, outputs)
        kind = caller.kind or "events"
        if kind == "static" and caller.framing is not None:
            raise PlifError(f"--framing {caller.framing}: is for events, but the input is static images; leave it out")
        framed_T = None if caller.framing is None else Framing.parse(caller.framing).T
        T = caller.T or framed_T or 1
        if framed_T not in (None, T):
            raise PlifError(f"framing '{caller.framing}' says T={framed_T}, but --T is {T}; expected equal numbers")
        classes = caller.classes or numbers(outputs)
        return cls(None, kind, tuple(graph.input_shape), T, classes, caller.framing, unsaid=unsaid_by(caller))


@dataclass(frozen=True)
class TrainedModel:
    """A model as a reader leaves it.

    graph      its layers and float32 weights, before any pass
    reference  what the artifact is proved against
    sha256     of the file it was read from; None of a live module
    has_card   whether its facts come from a card of its own
    notes      lines for the user
    if_silent  what to say where no layer fires
    not_proved what was not tried when it was read, in few words
    untested   layers that never fired when it was read
    sampled    what a module was run on when it was read; "" of a file
    """

    graph: Graph
    reference: Reference
    facts: ModelFacts
    sha256: str | None = None
    has_card: bool = False
    notes: list[str] = field(default_factory=list)
    if_silent: str = ""
    not_proved: list[str] = field(default_factory=list)
    untested: list[str] = field(default_factory=list)
    sampled: str = ""


UNNAMED = (
    "nobody named its classes, so they are numbers in the order of its outputs: "
    "--classes NAME,NAME,..., or --class-order sj|natural for weights of a known data set"
)
NUMBERED = frozenset(("mnist", "nmnist", "dvs128-gesture"))  # sets whose folders are named by the class's number


def named_by(caller: CallerFacts, shape: Shape, outputs: int) -> CallerFacts:
    """The caller with `classes` in the order of the outputs, as `--classes` or `--class-order` say; None where nobody did.

    shape, outputs  of the network: the input of one step, and the number of classes
    Raises PlifError for names that do not fit the outputs, and for an order of no known data set.
    """
    order, classes = caller.class_order, caller.classes
    if order is not None:
        if classes is not None:
            raise PlifError("--class-order: --classes gives the order already; leave one of the two out")
        name = _data_set(caller.network, shape, outputs)
        classes = PRESETS[name].meta.classes
        if order == "sj" and name in NUMBERED:  # folders named by class sort as the names do: that is the natural order
            classes = tuple(classes[int(folder)] for folder in sorted(str(i) for i in range(outputs)))
    if classes is not None and len(classes) != outputs:
        raise PlifError(f"--classes: {len(classes)} names for a network of {outputs} outputs; give {outputs}")
    return replace(caller, classes=classes, class_order=None)


def _data_set(network: str | None, shape: Shape, outputs: int) -> str:
    """The preset's, or the one set whose input and number of classes the network has."""
    name = (network or "").partition(":")[0]
    if name in PRESETS and len(PRESETS[name].meta.classes) == outputs:
        return name
    fitting = [name for name, p in PRESETS.items() if (p.meta.shape, len(p.meta.classes)) == (tuple(shape), outputs)]
    if len(fitting) != 1:
        sets = f"fits {' and '.join(fitting)}" if fitting else f"is of no known data set ({', '.join(PRESETS)})"
        raise PlifError(
            f"--class-order: a network of {outputs} classes for an input {'x'.join(map(str, shape))} {sets}; "
            "give the names in the order of the outputs: --classes NAME,NAME,..."
        )
    return fitting[0]


def numbers(outputs: int) -> tuple[str, ...]:
    """The names of classes that nobody named: "0", "1", ..."""
    return tuple(str(i) for i in range(outputs))


@dataclass
class Examined:
    """What a reader finds of a model that need not be exportable.

    entries   in the order of the model: a node of the graph, or why a layer becomes none
    problems  of the model as a whole
    graph     None where there is a problem
    """

    entries: Sequence[Node | Problem]
    problems: Sequence[Problem]
    graph: Graph | None
    facts: ModelFacts | None

    @classmethod
    def of(cls, model: TrainedModel) -> Examined:
        """Of one that could be read."""
        return cls(list(model.graph), [], model.graph, model.facts)
