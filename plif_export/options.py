"""What a caller may say about an export, in Python and on the command line: each option is declared here, once.

The name, the type and the default of an option are those of its field. `help` describes it for both, and `parse` reads it
where the command line has text for it; Python may give the value or that text. To add an option, add a field to
`ExportOptions` and its name to the command in plif_export/cli.py.

Neither torch nor NumPy is imported here, because `plif --help` loads this file.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import Field, dataclass, field, fields
from typing import Any, TypeVar

from runtime.base.errors import PlifError
from runtime.base.pairs import number_or_word, parse_pairs

BUDGETS = ("flash", "ram")
MOST_METADATA = 2000
Function = TypeVar("Function", bound=Callable[..., Any])


def _option(default: Any, help: str, parse: Callable[[Any], Any] | None = None, flag: str | None = None) -> Any:
    """flag: the option's name on the command line, where it is not the field's name in lower case."""
    return field(default=default, metadata={"help": help, "parse": parse, "flag": flag})


def _sizes(value: Sequence[int] | str | None) -> tuple[int, ...] | None:
    """ "2,34,34" -> (2, 34, 34)"""
    if not isinstance(value, str):
        return None if value is None else tuple(int(size) for size in value)
    sizes = value.lower().replace("x", ",").split(",")
    if not all(size.strip().isdigit() and int(size) > 0 for size in sizes):
        raise PlifError(f"--shape {value}: expected positive sizes such as 2,34,34")
    return tuple(int(size) for size in sizes)


def _names(value: Sequence[str] | str | None) -> tuple[str, ...] | None:
    """ "cat, dog" -> ("cat", "dog")"""
    if value is None:
        return None
    return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else tuple(value)


def _neuron(value: Mapping[str, Any] | str | None) -> dict[str, Any]:
    """ "v_threshold=1,v_reset=none,fire=ge" -> {"v_threshold": 1.0, "v_reset": None, "fire": "ge"}"""
    if not isinstance(value, str):
        return dict(value or {})
    refusal = f"--neuron {value}: expected NAME=VALUE,... such as v_threshold=1,v_reset=none,tau=2"
    return {name: number_or_word(text) for name, text in parse_pairs(value, refusal)}


def _settings(value: Mapping[str, str] | str | None) -> dict[str, str]:
    """ "sm=86+89,raw=true" -> {"sm": "86+89", "raw": "true"}"""
    if not isinstance(value, str):
        return dict(value or {})
    refusal = f"--set {value}: expected NAME=VALUE,NAME=VALUE with each name once"
    pairs = parse_pairs(value, refusal) if value else []
    if len(dict(pairs)) != len(pairs):
        raise PlifError(refusal)
    return dict(pairs)


def _metadata(value: Mapping[str, str] | Sequence[str] | None) -> dict[str, str]:
    """["author=A. Author", "licence=MIT"] -> {"author": "A. Author", "licence": "MIT"}"""
    if isinstance(value, Mapping):
        return {str(key): str(text) for key, text in value.items()}
    found: dict[str, str] = {}
    for pair in value or ():
        key, mark, text = pair.partition("=")
        if not mark or not key.strip() or key in found or len(pair) > MOST_METADATA:
            raise PlifError(
                f"--metadata {pair}: expected KEY=VALUE of {MOST_METADATA} characters at most, each key once"
            )
        found[key.strip()] = text
    return found


@dataclass(frozen=True)
class CallerFacts:
    """What the caller says about a model whose file or module does not say it; None where nothing was said."""

    network: str | None = _option(None, "A preset or a notation string: the layers of a bare state_dict.")
    shape: tuple[int, ...] | None = _option(None, "C,H,W of the input, where weights do not say it.", _sizes)
    neuron: Mapping[str, Any] = _option(
        None, "NAME=VALUE,...: v_threshold, v_reset, decay_input, tau; NIR: dt, fire, reset.", _neuron
    )
    classes: tuple[str, ...] | None = _option(None, "NAME,NAME,... in the order of the outputs.", _names)
    class_order: str | None = _option(
        None, "sj or natural: the order of a known data set's classes, where weights are not ours."
    )
    framing: str | None = _option(None, "How events become frames, e.g. count:T=16.")
    kind: str | None = _option(None, "events or static (images), for a model without a card.")
    T: int | None = _option(
        None, "Steps of the unrolled form; the card's T when not given. Without a card: its T.", flag="--T"
    )

    output: int | None = _option(
        None, "Of a live module whose forward returns several tensors: which one the file gives, from 0."
    )

    def __post_init__(self) -> None:
        for each in fields(self):
            if each.metadata["parse"] is not None:
                object.__setattr__(self, each.name, each.metadata["parse"](getattr(self, each.name)))
        if self.class_order not in (None, "sj", "natural"):
            raise PlifError(f"--class-order {self.class_order}: expected sj (folders sorted as text) or natural")
        if self.kind not in (None, "events", "static"):
            raise PlifError(f"--kind {self.kind}: expected events or static")
        if self.T is not None:
            from runtime.model.card import MOST_STEPS

            if not 0 < self.T <= MOST_STEPS:
                raise PlifError(f"--T {self.T}: expected 1 to {MOST_STEPS} time-steps")
        if self.framing is not None:
            from runtime.events.framing import Framing  # loads NumPy, as all of runtime.events does

            object.__setattr__(self, "framing", str(Framing.parse(self.framing)))

    def refuse_beside_card(self) -> None:
        """Raises PlifError for what the card of a model says already."""
        for name in ("classes", "class_order", "framing", "kind", "shape", "neuron"):
            if getattr(self, name):
                flag = f"--{name.replace('_', '-')}"
                raise PlifError(f"{flag}: the model has a card of its own that says it; leave {flag} out")


@dataclass(frozen=True)
class ExportOptions(CallerFacts):
    """All options of an export. Raises PlifError for a value that no model and no target can have."""

    form: str = _option("step", "step (streams) or unrolled (T steps a call).")
    precision: str = _option("fp32", "fp32, fp16 or int8.")
    to: str = _option("onnx", "onnx, plif, c, openvino, nir, triton, tensorrt or tensorrt-rtx.")
    options: Mapping[str, str] = _option(None, "Options of the target: NAME=VALUE,...", _settings, "--set")
    flash: str | None = _option(None, "Of a microcontroller, e.g. 512K: a network that needs more is refused. --to c")
    ram: str | None = _option(None, "Likewise, e.g. 256K, with the frame and the stack. --to c")
    math: str | None = _option(None, "folded or exact; the target's own when not given.")
    batch: int | None = _option(None, "A fixed number of streams; dynamic when not given.")
    metadata: Mapping[str, str] = _option(
        None,
        "KEY=VALUE for the card, may be given several times: author, licence, date, log=FILE (its hash), ...",
        _metadata,
    )
    verify: bool = _option(True, "Prove the artifact before it gets its name.")
    seed: int = _option(0, "Of the synthetic input that the proof uses.")

    def __post_init__(self) -> None:
        super().__post_init__()
        budgets = {name: getattr(self, name) for name in BUDGETS if getattr(self, name) is not None}
        object.__setattr__(self, "options", {**self.options, **budgets})  # a target has them, or has not
        if self.batch is not None and not 0 < self.batch <= 65536:
            raise PlifError(f"--batch {self.batch}: expected a positive number of streams")


def with_fields(
    declared: type[CallerFacts], *names: str, annotation: Callable[[Field[Any]], Any] = lambda each: each.type
) -> Callable[[Function], Function]:
    """Decorates a function that takes **options: its signature then names those fields of `declared` as keywords.

    names       which fields, in the order they are shown; all when none is given
    annotation  what stands behind a name in the signature; the field's type by default
    Plain parameters come before the fields, parameters that are keywords only after them.
    """
    found = {each.name: each for each in fields(declared)}

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function, eval_str=True)
        own = list(signature.parameters.values())[:-1]  # the last one is **options
        first = [each for each in own if each.kind is not inspect.Parameter.KEYWORD_ONLY]
        keywords = [
            inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=each.default, annotation=annotation(each))
            for name, each in ((name, found[name]) for name in names or found)
        ]
        parameters = [*first, *keywords, *own[len(first) :]]
        function.__signature__ = signature.replace(parameters=parameters)  # type: ignore[attr-defined]
        return function

    return decorate
