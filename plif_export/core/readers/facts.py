"""The result of a reader: the graph and reference of a trained model, and its facts for the card."""

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

OPTIONAL_FACTS = ("classes", "framing", "kind", "T")  # facts of a card that the weights do not show


def list_unstated(caller: CallerFacts) -> tuple[str, ...]:
    """Return the optional facts about a model (OPTIONAL_FACTS) that the caller did not state.

    A framing for events implies that the input is events, and may state T.
    """
    framing = None if caller.framing is None else Framing.parse(caller.framing)
    implied = {"T": framing is not None and framing.T is not None, "kind": framing is not None}
    return tuple(name for name in OPTIONAL_FACTS if getattr(caller, name) is None and not implied.get(name, False))


@dataclass(frozen=True)
class ModelFacts:
    """The facts about a model that an artifact's metadata card states in addition to the network graph.

    kind           "events" or "static" (images)
    shape          of the input of one step, without the batch: (C, H, W), or (N,) and (C, N) without images
    T              time-steps of a sample
    classes        one name for each output, in order
    framing        how events become frames, in canonical text
    normalisation  {"mean": [C numbers], "std": [C numbers]} of images
    view           "upright": recordings that their format stores rotated must be rotated back; None: as stored
    sensor         (width, height) of the training recordings; None if not known
    trained_on     statistics of the training recordings (runtime/core/events/fit.py); None if not known
    rules          the decision rules for feeds, from the model's card, by key
    unstated       the facts of OPTIONAL_FACTS that neither the model nor its owner stated: they have default values
    """

    notation: str | None
    kind: str
    shape: Shape
    T: int
    classes: tuple[str, ...]
    framing: str | None = None
    normalisation: dict[str, list[float]] | None = None
    unstated: tuple[str, ...] = ()
    view: str | None = None
    sensor: tuple[int, int] | None = None
    trained_on: dict[str, object] | None = None
    rules: dict[str, dict[str, object]] = field(default_factory=dict)

    @property
    def classes_named(self) -> bool:
        """True if a model's classes have names; False if they are only numbered."""
        return "classes" not in self.unstated

    def with_card_facts(self, card: Card) -> ModelFacts:
        """Return a model's facts, with those that the caller did not state taken from an artifact's card.

        A proof cannot judge these.
        """
        from_card = {
            "classes": tuple(card["classes"]),
            "framing": card["framing"],
            "kind": card["input"]["kind"],
            "T": card["T"],
        }
        return replace(self, **{name: from_card[name] for name in self.unstated})

    @classmethod
    def from_network(cls, net: Network) -> ModelFacts:
        meta = net.meta
        stated = {name: getattr(meta, name) for name in ("kind", "shape", "T", "classes", "framing", "normalisation")}
        optional = {name: getattr(meta, name) for name in ("view", "sensor", "trained_on", "rules")}
        return cls(str(net.notation), **stated, **optional)

    @classmethod
    def from_caller(cls, caller: CallerFacts, graph: Graph) -> ModelFacts:
        """Return the facts about a model without a card as the caller states them, else default values.

        Raises PlifError if the stated facts contradict the graph or each other.
        """
        outputs = graph[graph.output].shape[0]
        caller = name_classes(caller, graph.input_shape, outputs)
        kind = caller.kind or "events"
        if kind == "static" and caller.framing is not None:
            raise PlifError(f"--framing {caller.framing}: is for events, but the input is static images; leave it out")
        framed_T = None if caller.framing is None else Framing.parse(caller.framing).T
        T = caller.T or framed_T or 1
        if framed_T not in (None, T):
            raise PlifError(f"framing '{caller.framing}' says T={framed_T}, but --T is {T}; expected equal numbers")
        classes = caller.classes or number_classes(outputs)
        return cls(None, kind, tuple(graph.input_shape), T, classes, caller.framing, unstated=list_unstated(caller))


@dataclass(frozen=True)
class TrainedModel:
    """A trained model as its reader returns it: network graph, reference to compare with, and facts.

    graph      its layers and float32 weights, before any pass
    reference  the expected behaviour of the artifact
    sha256     of the file it was read from; None for a live module
    has_card   whether its facts come from a card of its own
    notes      lines for the user
    if_silent  the advice if no layer fires
    not_proved what was not tested when it was read, in few words
    untested   layers that never fired when it was read
    sampled    the inputs on which a module was run when it was read; "" for a file
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
NUMBERED = frozenset(("mnist", "nmnist", "dvs128-gesture"))  # data sets with folders named by the class number


def name_classes(caller: CallerFacts, shape: Shape, outputs: int) -> CallerFacts:
    """Return the caller's options with class names in the order of the outputs; `classes` is None if not named.

    `--classes` or `--class-order` give the names. shape, outputs: the input of one step, and the number of classes.
    Raises PlifError for names that do not fit the outputs, and for an order of no known data set.
    """
    order, classes = caller.class_order, caller.classes
    if order is not None:
        if classes is not None:
            raise PlifError("--class-order: --classes gives the order already; leave one of the two out")
        name = _find_data_set(caller.network, shape, outputs)
        classes = PRESETS[name].meta.classes
        if order == "sj" and name in NUMBERED:  # folders named by class sort as the names do: that is the natural order
            classes = tuple(classes[int(folder)] for folder in sorted(str(i) for i in range(outputs)))
    if classes is not None and len(classes) != outputs:
        raise PlifError(f"--classes: {len(classes)} names for a network of {outputs} outputs; give {outputs}")
    return replace(caller, classes=classes, class_order=None)


def _find_data_set(network: str | None, shape: Shape, outputs: int) -> str:
    """Return the data set of a preset network, or the only one with its input shape and number of classes."""
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


def number_classes(outputs: int) -> tuple[str, ...]:
    """Return numbers as the names of classes that have none: "0", "1" and so on."""
    return tuple(str(i) for i in range(outputs))


@dataclass
class ModelCheck:
    """The result of checking whether a model can be exported.

    entries   in the order of the model: a node of the graph, or why a layer has none
    problems  of the model as a whole
    graph     None if there is a problem
    """

    entries: Sequence[Node | Problem]
    problems: Sequence[Problem]
    graph: Graph | None
    facts: ModelFacts | None

    @classmethod
    def from_model(cls, model: TrainedModel) -> ModelCheck:
        """Return the check result of a model that was read successfully, so that it can be exported."""
        return cls(list(model.graph), [], model.graph, model.facts)
