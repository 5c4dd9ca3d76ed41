"""Recipes: settings of a training in a TOML file, with each key declared once as a field of `Recipe`.

    plif train gesture.toml --data ... --set clip_norm=1

The fields of `Recipe` (name, type, default, help, allowed values) are the single source of truth. The reader of the
file, `--set`, the options of `plif train`, the keywords of plif_train.train, the card of the model and the table in
docs/training.md are all derived from them. To add a key, add a field. A recipe that ships is a file in
plif_train/recipes/, and its name stands for it.

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
from runtime.core.parts import load_part_options

RECIPES_FOLDER = Path(__file__).parents[1] / "recipes"
_KINDS: dict[Any, str] = {int: "a whole number", float: "a number", bool: "true or false", str: "text"}


def _add_keys_of_parts(recipe_class: type) -> type:
    """Add the recipe keys that the plug-in parts in plif_train/hooks declare to a recipe class, behind its own."""
    for keys in load_part_options("hooks").values():
        for name, kind in get_type_hints(keys).items():
            recipe_class.__annotations__ = {**recipe_class.__annotations__, name: kind}
            setattr(recipe_class, name, vars(keys)[name])
    return recipe_class


@dataclass(frozen=True)
@_add_keys_of_parts
class Recipe:
    """A training recipe: every setting of a training that does not depend on the machine or the files.

    None means that a key is not set; then the network or the data set decides.

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
        """Return a recipe's learning rate in an epoch, counted from 0: a cosine with a half period of t_max epochs."""
        return self.lr * (1 + math.cos(math.pi * epoch / (self.t_max or self.epochs))) / 2

    def to_dict(self) -> dict[str, Any]:
        """Return the keys of a training recipe that have a value, for a metadata card or a TOML file.

        The device is left out, because it belongs to a machine.
        """
        pairs = ((name, getattr(self, name)) for name in KEYS if name != "device")
        return {
            name: list(value) if isinstance(value, tuple) else value
            for name, value in pairs
            if value is not None and value != ()
        }


KEYS: dict[str, Field[Any]] = {field_.name: field_ for field_ in fields(Recipe)}


@cache
def get_key_type(name: str) -> tuple[Any, bool, bool]:
    """Return the type of a recipe key as (type of one value, takes several values, takes none).

    They are read from the annotation of the key.
    """
    hint = get_type_hints(Recipe)[name]
    kinds = [kind for kind in get_args(hint) if kind not in (type(None), ...)] or [hint]
    return kinds[0], get_origin(hint) is tuple, type(None) in get_args(hint)


def read_value(name: str, raw: Any, context: str = "", is_text: bool = False) -> Any:
    """Return the value of a recipe key, checked and converted from TOML, JSON, Python or text.

    is_text    the raw value comes from the command line
    context    the beginning of the PlifError
    """
    _, is_list, optional = get_key_type(name)
    if raw is None or (isinstance(raw, str) and raw == "none"):
        if optional or is_list:
            return () if is_list else None
    elif is_list:
        items = raw.split(KEYS[name].metadata["split"]) if is_text and isinstance(raw, str) else raw
        if isinstance(items, (list, tuple)):
            values = tuple(_read_one_value(name, part.strip() if is_text else part, is_text) for part in items)
            if None not in values:
                return values
    if not is_list and (value := _read_one_value(name, raw, is_text)) is not None:
        return value
    shown = str(raw) if is_text else repr(raw)
    shown = shown if len(shown) < 60 else f"{shown[:57]}..."
    raise PlifError(f"{context}{name} {shown}: expected {describe_values(name)}")


def _read_one_value(name: str, value: Any, is_text: bool) -> Any:
    """Return one value of a recipe key converted to the key's type, or None if its type or range is wrong."""
    kind, limits = get_key_type(name)[0], KEYS[name].metadata
    try:
        if is_text and kind is not str and isinstance(value, str):
            value = {"true": True, "false": False}[value.lower()] if kind is bool else kind(value)
        if kind is float and type(value) is int:
            value = float(value)
    except (KeyError, OverflowError, ValueError):
        return None
    if type(value) is not kind:
        return None
    if kind is bool or kind is str:
        return value if not limits["choices"] or value in limits["choices"] else None
    return value if limits["least"] <= value <= limits["most"] and limits["above"] < value < math.inf else None


def describe_values(name: str) -> str:
    """Describe the values that a recipe key accepts, in words."""
    kind, is_list, optional = get_key_type(name)
    choices, least, above, most = (KEYS[name].metadata[key] for key in ("choices", "least", "above", "most"))
    words = _KINDS[kind]
    if choices:
        words = " or ".join([", ".join(choices[:-1]), choices[-1]])
    elif least > -math.inf:
        words += f" from {least} to {most}" if most < math.inf else f" of at least {least}"
    elif above > -math.inf:
        words += f" above {above}"
    if is_list:
        words = "texts" if kind is str else f"{words} for each --data"
    return f"{words}, or none" if optional else words


def replace_keys(recipe: Recipe, changes: Mapping[str, Any], context: str = "", is_text: bool = False) -> Recipe:
    """Return a copy of a training recipe with new values for some keys.

    `context` begins the PlifError for a value that a key cannot have.
    """
    values = {name: getattr(recipe, name) for name in KEYS}
    for name, value in changes.items():
        if name not in values:
            raise PlifError(f"{context}{name}: no such key of a recipe; {suggest_key(name)}")
        values[name] = read_value(name, value, context, is_text)
    return Recipe(**values)


def suggest_key(name: str) -> str:
    """Suggest the recipe key nearest to an unknown name, as text for an error message."""
    near = difflib.get_close_matches(name.lower().replace("-", "_"), KEYS, 1)
    return f"the nearest is {near[0]}" if near else "`plif train --help-recipe` lists them"


def format_option(name: str, value: Any) -> list[str]:
    """Format a recipe key and its value as command-line words: ["--lr", "0.01"], ["--set", "clip_norm=1.0"]."""
    about, flag = KEYS[name].metadata, f"--{name.replace('_', '-')}"
    texts = [_format_value(entry) for entry in (value if isinstance(value, (list, tuple)) else [value])]
    if not about["flag"]:
        return ["--set", f"{name}={about['split'].join(texts)}"]
    texts = texts if about["split"] == ";" else [about["split"].join(texts)]
    return [word for text in texts for word in (flag, text)]


def _format_value(value: Any) -> str:
    if isinstance(value, float):
        return f"{value:g}" if float(f"{value:g}") == value else repr(value)
    return "none" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def list_recipes() -> list[str]:
    """Return the names of the recipes that ship with plif."""
    return sorted(path.stem for path in RECIPES_FOLDER.glob("*.toml"))


def is_recipe(word: Any) -> bool:
    """Return whether a command-line word or a value names a training recipe; otherwise it names a network.

    A recipe is a record, a map, a file, or the name of one that ships.
    """
    return not isinstance(word, str) or word.endswith(".toml") or word in list_recipes()


def read_recipe(source: Recipe | Mapping[str, Any] | str | Path) -> Recipe:
    """Read a training recipe from a TOML file, from the recipe shipped under a name, or from a dict.

    Raises PlifError, in one line, for any other source.
    """
    if isinstance(source, Recipe):
        return source
    if isinstance(source, Mapping):
        return replace_keys(Recipe(), source)
    path = RECIPES_FOLDER / f"{source}.toml" if str(source) in list_recipes() else Path(source)
    content = read_regular(path, f"a recipe, or one that ships: {', '.join(list_recipes())}")
    try:
        tomllib = import_module("tomllib" if sys.version_info >= (3, 11) else "tomli")
    except ImportError:  # Python 3.10 with PyTorch, but without this extra
        raise MissingExtra(f"{path}: a recipe", "train") from None
    try:
        values = tomllib.loads(content.decode())
    except (UnicodeDecodeError, tomllib.TOMLDecodeError, RecursionError) as error:
        raise PlifError(f"{path}: not a recipe ({error}); expected TOML with KEY = VALUE lines") from None
    try:
        return replace_keys(Recipe(), values, f"{path}: ")
    except PlifError as error:
        raise PlifError(str(error) if str(error).startswith(f"{path}:") else f"{path}: {error}") from None


def select_recipe(words: Sequence[Recipe | Mapping[str, Any] | str | Path]) -> Recipe:
    """Return the recipe that the words of `plif train` name: at most one recipe and one network, in any order."""
    for word in words:
        if not isinstance(word, Recipe | Mapping | str | Path):
            raise PlifError(
                f"plif train: a {type(word).__name__} is neither a network nor a recipe; expected a preset, a notation string, "
                "a dict of keys, a Recipe or its file; a module of your own is trained by your own loop, and exported as it is: "
                "plif.export(module, 'model.onnx', example)"
            )
    recipes = [word for word in words if is_recipe(word)]
    networks = [word for word in words if not is_recipe(word)]
    for kind, matches in (("recipe", recipes), ("network", networks)):
        if len(matches) > 1:
            raise PlifError(f"plif train: a second {kind}, {matches[1]}; expected one recipe and one network at most")
    recipe = read_recipe(recipes[0]) if recipes else Recipe()
    return replace_keys(recipe, {"network": networks[0]}) if networks else recipe


def list_keys() -> Iterator[tuple[str, str, str, str]]:
    """Yield (key, accepted values, default, help text) for every key of a training recipe.

    Documentation pages and `plif train --help-recipe` print them.
    """
    for name, declared in KEYS.items():
        default = "" if declared.default in (None, ()) else _format_value(declared.default)
        yield name, describe_values(name).removesuffix(", or none"), default, declared.metadata["help"]
