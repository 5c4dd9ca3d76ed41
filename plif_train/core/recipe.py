"""How a network is trained: a recipe, which is a TOML file, and each of its keys is declared here, once.

    plif train gesture.toml --data ... --set clip_norm=1

The reader of the file, `--set`, the options of `plif train`, the keywords of plif_train.train, the card of the model and the
table in docs/training.md all come from the fields of `Recipe`: name, type, default, help, what it may be. To add a key, add a
field; a recipe that ships is a file in plif_train/recipes/, and its name stands for it.

Neither torch nor NumPy is imported here, because `plif --help` loads this file.
"""

from __future__ import annotations

import difflib
import math
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import Field, dataclass, fields
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any, get_args, get_origin, get_type_hints

from plif_train.core.keys import DATA, NETWORK, TRAINING, key
from runtime.core.base.errors import MissingExtra, PlifError
from runtime.core.base.files import read_regular
from runtime.core.parts import options_of_parts

SHIPPED = Path(__file__).parents[1] / "recipes"
_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _with_keys_of_parts(recipe: type) -> type:
    """The keys of the parts that change a training, behind the others."""
    for keys in options_of_parts("hooks").values():
        for name, kind in get_type_hints(keys).items():
            recipe.__annotations__ = {**recipe.__annotations__, name: kind}
            setattr(recipe, name, vars(keys)[name])
    return recipe


@dataclass(frozen=True)
@_with_keys_of_parts
class Recipe:
    """How to train. None: not given, and then it is what the network, or the data set, has.

    Raises PlifError for a value that a key cannot have.
    """

    # fmt: off
    network: str | None = key(NETWORK, None, "a preset, PRESET:paper, or a notation string")
    T: int | None = key(NETWORK, None, "time-steps; the preset's when not given", least=1, flag=True)
    framing: str | None = key(NETWORK, None, "events to frames: count:T=10, duration:10ms,T=16")
    size: str | None = key(NETWORK, None, "WIDTHxHEIGHT of the input, for recordings of one's own; 128x128 if not given")
    neuron: str | None = key(NETWORK, None, "PLIF, LIF, IF (of a preset); v_threshold=, v_reset=, decay_input=", flag=True)
    init_tau: float | None = key(NETWORK, None, "tau at the start (PLIF), or for good (LIF); 2 if not given", above=1)
    tau: str | None = key(NETWORK, None, "what shares one tau; layer if not given", ("layer", "channel"))
    channels: int | None = key(NETWORK, None, "of a preset: convolution channels", least=1)
    hidden: int | None = key(NETWORK, None, "of a preset: hidden fully connected neurons", least=1)
    pool: str | None = key(NETWORK, None, "of a preset: max or average pooling", ("MP", "AP"))
    bias: str | None = key(NETWORK, None, "which layers have biases; none have", ("all", "fc"))
    surrogate: str | None = key(NETWORK, None, "gradient of a spike; atan if not given", ("atan", "sigmoid", "piecewise"))
    detach_reset: bool | None = key(NETWORK, None, "the gradient ignores the spike in the reset; true if not given")
    dropout: float | None = key(NETWORK, None, "probability of every DP layer; 0.5 if not given", least=0, most=1)

    epochs: int = key(TRAINING, 64, "passes over the training split", least=1, flag=True, free=True)
    batch_size: int = key(TRAINING, 16, "samples per optimiser step", least=1, flag=True)
    lr: float = key(TRAINING, 1e-3, "Adam's learning rate at the start", above=0, flag=True)
    t_max: int | None = key(TRAINING, None, "half period of lr's cosine; if not given epochs, or as it was", least=1, free=True)
    protocol: str = key(
        TRAINING, "A", "keep the best test epoch, the best on 15 % held back, the last", ("A", "B", "C"), flag=True)
    seed: int = key(TRAINING, 2020, "of weights, order, dropout, augmentation", least=0, most=2**31 - 1, flag=True)
    precision: str = key(TRAINING, "fp32", "autocast; membranes stay float32", ("fp32", "bf16", "fp16"), flag=True)
    device: str = key(TRAINING, "auto", "cpu, cuda:1, auto; 0,1 (two GPUs), cpu:2 (processes)", flag=True, free=True)
    loss: str = key(
        TRAINING, "rate-mse", "of the firing rates, or of each step", ("rate-mse", "step-mse", "step-ce", "ce", "tet"))
    augment: str = key(
        TRAINING, "mnist:random_affine,cifar10:random_crop_flip", "none, a function of data.augment, or SET:FUNCTION,...")
    bn: str = key(TRAINING, "per-step", "statistics of batch normalisation", ("per-step", "joint", "frozen"))
    clip_norm: float | None = key(TRAINING, None, "shorten gradients that are longer than this", above=0)
    rate_penalty: float = key(TRAINING, 0.0, "times the mean firing rate, added to the loss: fewer spikes", least=0)
    accumulate: int = key(TRAINING, 1, "compute each batch in this many parts, in less memory", least=1)
    patience: int | None = key(TRAINING, None, "stop after this many epochs without a better accuracy", least=1, free=True)
    compile: bool = key(TRAINING, False, "fuse the neurons' time-steps with torch.compile (GPUs)", free=True)

    data: tuple[str, ...] = key(DATA, (), "names of the sets that --data must give, in this order")
    limit_train: int | None = key(DATA, None, "train on so many samples, spread over the split", least=1, flag=True)
    limit_test: int | None = key(DATA, None, "test on so many samples, spread over the split", least=1, flag=True)
    # fmt: on

    def __post_init__(self) -> None:
        for name in KEYS:
            object.__setattr__(self, name, read_value(name, getattr(self, name)))
        if self.accumulate > self.batch_size:
            raise PlifError(f"accumulate {self.accumulate}: expected 1 to the batch size, {self.batch_size}")
        if self.precision == "fp16" and self.device.startswith("cpu"):
            raise PlifError(f"precision fp16 trains on a GPU only, not on {self.device}; use bf16 or fp32")

    def lr_at(self, epoch: int) -> float:
        """The learning rate in an epoch, counted from 0."""
        return self.lr * (1 + math.cos(math.pi * epoch / (self.t_max or self.epochs))) / 2

    def to_dict(self) -> dict[str, Any]:
        """What a card keeps, and a TOML file may hold: all keys that have a value, but for the device, which is of a machine."""
        found = ((name, getattr(self, name)) for name in KEYS if name != "device")
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in found
            if value is not None and value != ()
        }


KEYS: dict[str, Field[Any]] = {each.name: each for each in fields(Recipe)}


@cache
def type_of(name: str) -> tuple[Any, bool, bool]:
    """(the type of a value, whether a key has several, whether it may have none): its annotation, taken apart."""
    hint = get_type_hints(Recipe)[name]
    kinds = [one for one in get_args(hint) if one not in (type(None), ...)] or [hint]
    return kinds[0], get_origin(hint) is tuple, type(None) in get_args(hint)


def read_value(name: str, found: Any, where: str = "", text: bool = False) -> Any:
    """The value of a key, from TOML, JSON or Python; `text`: from the command line. `where` begins the PlifError."""
    _, many, optional = type_of(name)
    if found is None or (isinstance(found, str) and found == "none"):
        if optional or many:
            return () if many else None
    elif many:
        items = found.split(KEYS[name].metadata["split"]) if text and isinstance(found, str) else found
        if isinstance(items, (list, tuple)):
            values = tuple(_one(name, item.strip() if text else item, text) for item in items)
            if None not in values:
                return values
    if not many and (value := _one(name, found, text)) is not None:
        return value
    shown = str(found) if text else repr(found)
    shown = shown if len(shown) < 60 else f"{shown[:57]}..."
    raise PlifError(f"{where}{name} {shown}: expected {expected(name)}")


def _one(name: str, found: Any, text: bool) -> Any:
    """One value, or None where it is of another type, or outside what it may be."""
    kind, may = type_of(name)[0], KEYS[name].metadata
    try:
        if text and kind is not str and isinstance(found, str):
            found = {"true": True, "false": False}[found.lower()] if kind is bool else kind(found)
        if kind is float and type(found) is int:
            found = float(found)
    except (KeyError, OverflowError, ValueError):
        return None
    if type(found) is not kind:
        return None
    if kind is bool or kind is str:
        return found if not may["choices"] or found in may["choices"] else None
    return found if may["least"] <= found <= may["most"] and may["above"] < found < math.inf else None


def expected(name: str) -> str:
    """What a key may be, in words."""
    kind, many, optional = type_of(name)
    choices, least, above, most = (KEYS[name].metadata[key] for key in ("choices", "least", "above", "most"))
    words = _KINDS[kind]
    if choices:
        words = " or ".join([", ".join(choices[:-1]), choices[-1]])
    elif least > -math.inf:
        words += f" from {least} to {most}" if most < math.inf else f" of at least {least}"
    elif above > -math.inf:
        words += f" above {above}"
    if many:
        words = "texts" if kind is str else f"{words} for each --data"
    return f"{words}, or none" if optional else words


def changed(recipe: Recipe, changes: Mapping[str, Any], where: str = "", text: bool = False) -> Recipe:
    """The recipe with other values of some keys. `where` begins the PlifError for one that cannot be."""
    values = {name: getattr(recipe, name) for name in KEYS}
    for name, value in changes.items():
        if name not in values:
            raise PlifError(f"{where}{name}: no such key of a recipe; {nearest(name)}")
        values[name] = read_value(name, value, where, text)
    return Recipe(**values)


def nearest(name: str) -> str:
    """What a key that there is not may have meant, for a PlifError."""
    near = difflib.get_close_matches(name.lower().replace("-", "_"), KEYS, 1)
    return f"the nearest is {near[0]}" if near else "`plif train --help-recipe` lists them"


def option_of(name: str, value: Any) -> list[str]:
    """What to type for a key that has this value: ["--lr", "0.01"], ["--set", "clip_norm=1.0"]."""
    may, flag = KEYS[name].metadata, f"--{name.replace('_', '-')}"
    texts = [_text(one) for one in (value if isinstance(value, (list, tuple)) else [value])]
    if not may["flag"]:
        return ["--set", f"{name}={may['split'].join(texts)}"]
    texts = texts if may["split"] == ";" else [may["split"].join(texts)]
    return [word for text in texts for word in (flag, text)]


def _text(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def shipped() -> list[str]:
    """The names of the recipes that ship."""
    return sorted(path.stem for path in SHIPPED.glob("*.toml"))


def is_recipe(word: Any) -> bool:
    """Whether this stands for a recipe: a record, a map, a file, the name of one that ships; else it is a network."""
    return not isinstance(word, str) or word.endswith(".toml") or word in shipped()


def read_recipe(source: Recipe | Mapping[str, Any] | str | Path) -> Recipe:
    """The recipe of a file, of the name of one that ships, of a map. PlifError, in one line, for what is none."""
    if isinstance(source, Recipe):
        return source
    if isinstance(source, Mapping):
        return changed(Recipe(), source)
    path = SHIPPED / f"{source}.toml" if str(source) in shipped() else Path(source)
    content = read_regular(path, f"a recipe, or one that ships: {', '.join(shipped())}")
    try:
        tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:  # Python 3.10 with PyTorch, but without this extra
        raise MissingExtra(f"{path}: a recipe", "train") from None
    try:
        found = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise PlifError(f"{path}: not a recipe ({error}); expected TOML with KEY = VALUE lines") from None
    try:
        return changed(Recipe(), found, f"{path}: ")
    except PlifError as error:
        raise PlifError(str(error) if str(error).startswith(f"{path}:") else f"{path}: {error}") from None


def chosen(words: Sequence[Recipe | Mapping[str, Any] | str | Path]) -> Recipe:
    """The recipe that a command names: at most one recipe, and at most one network, in any order."""
    for word in words:
        if not isinstance(word, Recipe | Mapping | str | Path):
            raise PlifError(
                f"plif train: a {type(word).__name__} is neither a network nor a recipe; expected a preset, a notation string, "
                "a dict of keys, a Recipe or its file; a module of your own is trained by your own loop, and exported as it is: "
                "plif.export(module, 'model.onnx', example)"
            )
    recipes = [word for word in words if is_recipe(word)]
    networks = [word for word in words if not is_recipe(word)]
    for what, found in (("recipe", recipes), ("network", networks)):
        if len(found) > 1:
            raise PlifError(f"plif train: a second {what}, {found[1]}; expected one recipe and one network at most")
    recipe = read_recipe(recipes[0]) if recipes else Recipe()
    return changed(recipe, {"network": networks[0]}) if networks else recipe


def table() -> Iterator[tuple[str, str, str, str]]:
    """(key, what it may be, its default, what it is) of every key, for pages and for `plif train --help-recipe`."""
    for name, each in KEYS.items():
        default = "" if each.default in (None, ()) else _text(each.default)
        yield name, expected(name).removesuffix(", or none"), default, each.metadata["help"]
