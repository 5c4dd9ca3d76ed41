"""The options of an export, in Python and on the command line: each option is declared here, once.

Neither torch nor NumPy is imported here, because `plif --help` loads this file.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from runtime.core.base.errors import PlifError
from runtime.core.base.grammar import integer_parser, parse_items, parse_list, parse_scalar
from runtime.core.base.options import OptionRecord, option
from runtime.core.observers import ExtensibleOptions
from runtime.core.parts import find_parts, index_by_name

BUDGETS = ("flash", "ram")
ALIASES = {"half": "fp16", "int8": "int8"}  # other names of a precision
MOST_METADATA = 2000
FORMS = "".join(
    f", {name} ({label})"
    for part in find_parts("writers").values() if isinstance(part.names, dict) for name, label in part.names.items()
)  # fmt: skip


def _parse_sizes(option_name: str, value: Any) -> tuple[int, ...] | None:
    """Parse the text of an input shape into numbers: "2,34,34" -> (2, 34, 34)."""
    if isinstance(value, str):
        return parse_list(option_name, value.lower().replace("x", ","), integer_parser(1), example="2,34,34")
    return None if value is None else tuple(int(size) for size in value)


def _parse_names(option_name: str, value: Any) -> tuple[str, ...] | None:
    """Parse a text of class names into a tuple: "cat, dog" -> ("cat", "dog")."""
    if value is None:
        return None
    return tuple(name.strip() for name in value.split(",")) if isinstance(value, str) else tuple(value)


def _parse_neuron(option_name: str, value: Any) -> dict[str, Any]:
    """Parse neuron parameters: "v_reset=none,fire=ge" -> {"v_reset": None, "fire": "ge"}."""
    if not isinstance(value, str):
        return dict(value or {})
    return parse_items(option_name, value, parse_scalar, example="v_threshold=1,v_reset=none,tau=2")


def _parse_settings(option_name: str, value: Any) -> dict[str, str]:
    """Parse target options: "sm=86+89,raw=true" -> {"sm": "86+89", "raw": "true"}."""
    return parse_items(option_name, value, str) if isinstance(value, str) and value else dict(value or {})


def _parse_metadata(option_name: str, value: Any) -> dict[str, str]:
    """Parse --metadata texts into a dict: ["licence=MIT"] -> {"licence": "MIT"}."""
    if isinstance(value, Mapping):
        return {str(key): str(text) for key, text in value.items()}
    metadata: dict[str, str] = {}
    for pair in value or ():
        key, mark, text = pair.partition("=")
        if not mark or not key.strip() or key in metadata or len(pair) > MOST_METADATA:
            raise PlifError(
                f"{option_name} {pair}: expected KEY=VALUE of {MOST_METADATA} characters at most, each key once"
            )
        metadata[key.strip()] = text
    return metadata


def _parse_framing(option_name: str, value: Any) -> str | None:
    if value is None:
        return None
    from runtime.core.events.framing import Framing  # loads NumPy, as all of runtime.core.events does

    return str(Framing.parse(value))


class LayerOptions(OptionRecord):
    """Options that describe the layers of a model file that lacks such a description."""

    network: str | None = option("A preset or a notation string: the layers of a bare state_dict.", default=None)
    shape: tuple[int, ...] | None = option(
        "C,H,W of the input, where weights do not say it.", default=None, parse=_parse_sizes
    )
    neuron: Mapping[str, Any] = option(
        "NAME=VALUE,...: v_threshold, v_reset, decay_input, tau; NIR: dt, fire, reset.",
        default=None,
        parse=_parse_neuron,
    )


class TargetOptions(OptionRecord):
    """Options that choose the target format of an export."""

    to: str = option(f"onnx, {', '.join(index_by_name(find_parts('targets')))}.", default="onnx")
    options: Mapping[str, str] = option(
        "Options of the target: NAME=VALUE,...", "--set", default=None, parse=_parse_settings
    )


class ProofRequirements(ExtensibleOptions, by="proof"):
    """Options that set how much an export proof must show before it passes."""

    require_tested: bool = option("Fail where nothing makes a layer fire.", default=False)


class CallerFacts(LayerOptions):
    """Options by which the user describes a model whose file or module lacks a description; None if not given.

    output  of a live module with a forward that returns several tensors: the index of the exported one, from 0
    """

    classes: tuple[str, ...] | None = option(
        "NAME,NAME,... in the order of the outputs.", default=None, parse=_parse_names
    )
    class_order: str | None = option(
        "sj (folders sorted as text) or natural: the order of a known data set's classes, where weights are not ours.",
        default=None,
        choices=("sj", "natural"),
    )
    framing: str | None = option("How events become frames, e.g. count:T=16.", default=None, parse=_parse_framing)
    kind: str | None = option(
        "events or static (images), for a model without a card.", default=None, choices=("events", "static")
    )
    T: int | None = option(
        "Steps of the unrolled form; the card's T when not given. Without a card: its T.", "--T", default=None
    )
    prove_steps: int | None = option(
        "How many steps a live module is at least run for, and compared with what was read of it.",
        default=None,
        least=1,
    )
    output: int | None = None

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.T is not None:
            from runtime.core.model.card import MAX_STEPS

            if not 0 < self.T <= MAX_STEPS:
                raise PlifError(f"--T {self.T}: expected 1 to {MAX_STEPS} time-steps")

    def refuse_with_card(self) -> None:
        """Refuse options that state what a model's metadata card states already. Raises PlifError."""
        for name in ("classes", "class_order", "framing", "kind", "shape", "neuron"):
            if getattr(self, name):
                flag = f"--{name.replace('_', '-')}"
                raise PlifError(f"{flag}: the model has a card of its own that says it; leave {flag} out")


class ExportOptions(TargetOptions, CallerFacts, ProofRequirements):
    """All options of an export. Raises PlifError for a value that no model and no target can have."""

    seed: int = option("Of the synthetic input that the proof uses.", default=0, least=0)

    form: str = option(f"step (streams){FORMS}.", default="step")
    precision: str = option(
        f"Of weights: {', '.join(('fp32', *index_by_name(find_parts('precisions'))))}.", default="fp32"
    )
    half: bool = option("--precision fp16", default=False)
    int8: bool = option("--precision int8", default=False)
    flash: str | None = option(
        "Of a microcontroller, e.g. 512K: a network that needs more is refused. --to c", default=None
    )
    ram: str | None = option("Likewise, e.g. 256K, with the frame and the stack. --to c", default=None)
    math: str | None = option("folded or exact; the target's own when not given.", default=None)
    batch: int | None = option("A fixed number of streams; dynamic when not given.", default=None, least=1, most=65536)
    metadata: Mapping[str, str] = option(
        "KEY=VALUE for the card, may be given several times: author, licence, date, log=FILE (its hash), ...",
        default=None,
        parse=_parse_metadata,
        typed=list[str] | None,
    )
    verify: bool = option(
        "Prove it before it gets its name; else its card says that it is not proved.",
        "--verify/--no-verify",
        default=True,
    )

    def __post_init__(self) -> None:
        super().__post_init__()
        budgets = {name: getattr(self, name) for name in BUDGETS if getattr(self, name) is not None}
        object.__setattr__(self, "options", {**self.options, **budgets})  # the target refuses them if it has no budgets
        for alias, precision in ALIASES.items():
            if getattr(self, alias):
                if self.precision not in ("fp32", precision):
                    raise PlifError(
                        f"--{alias}: is --precision {precision}, beside --precision {self.precision}; give one"
                    )
                object.__setattr__(self, "precision", precision)
                object.__setattr__(self, alias, False)


class VerifyOptions(CallerFacts, ProofRequirements):
    """All options of the command `plif verify`, which proves an existing artifact."""

    seed: int | None = option("Of the synthetic input; drawn, and said, when not given.", default=None, least=0)
    steps: int | None = option("Time-steps of synthetic input.", default=None, least=1)
    engine: str | None = option("Prove this engine as well, e.g. event; all: every one that is here.", default=None)
    structure: str = option(
        "compared: with what the exporter writes of the model; ignored: numbers alone judge, and it is not proved.",
        default="compared",
        choices=("compared", "ignored"),
    )
    run: bool = option("Compile and run generated C that is not what plif writes, within limits.", default=False)


class ProofSamples(OptionRecord):
    """Options to prove an artifact on real recordings in place of synthetic input."""

    data: str | None = option("NAME:DIR: prove it on recordings instead of synthetic input.", default=None)
    limit: int = option("How many samples of --data.", default=4, least=1)


class Destination(OptionRecord):
    """The command-line option for the path of the exported artifact."""

    path: Path | None = option("Where to; beside the model when not given.", "-o", "--output", default=None)
