"""The command `plif train`: read and check its options, train (plif_train.core.loop.job), and print the result.

The Python function is plif_train.train. Options that are keys of a recipe are declared in plif_train.core.recipe.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

from plif_train.core.options import TrainingOptions
from plif_train.core.recipe import KEYS, format_option, get_key_type, list_keys, list_recipes, suggest_key
from runtime.core.base.errors import Interrupted, PlifError
from runtime.core.base.options import Argument, OptionRecord, option
from runtime.core.base.text import say
from runtime.core.cli.output import Output, print_json
from runtime.core.parts import load_from_parts

if TYPE_CHECKING:
    from plif_train.core.loop.job import TrainingJob

_PRESETS = "mnist fashion-mnist cifar10 nmnist cifar10-dvs dvs128-gesture"


def _make_key_options() -> type[OptionRecord]:
    """Return an option class with the recipe keys that are options of `plif train`, such as --lr.

    The value None means that the option was left out.
    """
    options = {}
    for name, key in KEYS.items():
        if key.metadata["flag"]:
            kind, many, _ = get_key_type(name)
            value_type: Any = (list[str] if many and key.metadata["split"] == ";" else str if many else kind) | None
            flags = ["--devices", "--device"] if name == "device" else []
            default = "" if key.default in (None, ()) else f" [{key.default}]"
            help = key.metadata["help"]
            options[name] = option(f"{help[0].upper()}{help[1:]}{default}.", *flags, default=None, typed=value_type)
    return type(
        "KeyOptions",
        (OptionRecord,),
        {"__annotations__": dict.fromkeys(options, Any), "__module__": __name__, **options},
    )


if TYPE_CHECKING:
    KeyOptions = OptionRecord
else:
    KeyOptions = _make_key_options()


def _print_keys() -> None:
    for name, may, default, help in list_keys():
        say(f"{name:<13} {help}", f"{'':<13} {may}{f'; {default}' if default else ''}")


class RecipeOptions(OptionRecord):
    """The options of `plif train` that set recipe keys without an option of their own (--set KEY=VALUE)."""

    settings: list[str] | None = option(
        "Any key of a recipe; several times.", "--set", default=None, metavar="KEY=VALUE"
    )
    help_recipe: bool = option("What --set takes.", "--help-recipe", default=False, eager=_print_keys)


def _check_words(words: list[str] | None) -> list[str] | None:
    """Refuse a command-line word that looks like an option but is none; return the words."""
    for word in words or ():
        if word.startswith("--"):
            key = word[2:].partition("=")[0].removeprefix("no-").replace("-", "_")
            hint = f"type --set {key}=VALUE" if key in KEYS else suggest_key(key)
            raise PlifError(f"{word}: no such option; {hint} (see plif train --help)")
    return words


def _parse_settings(pairs: list[str]) -> dict[str, Any]:
    """Parse the KEY=VALUE texts of --set into a dict: ["clip_norm=1"] -> {"clip_norm": "1"}."""
    settings: dict[str, Any] = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals or name in settings:
            raise PlifError(f"--set {pair}: expected KEY=VALUE, each key once, as in --set clip_norm=1")
        settings[name] = value
    return settings


def train(
    words: Annotated[
        list[str] | None,
        Argument(
            f"RECIPE: a .toml, or {' '.join(list_recipes())}; NETWORK: {_PRESETS}, or a notation string",
            metavar="[RECIPE] [NETWORK]",
            callback=_check_words,
        ),
    ] = None,
    *,
    options: TrainingOptions,
    recipe: RecipeOptions,
    keys: KeyOptions,
    output: Output,
) -> None:
    """Train a network and keep its best epoch. Ctrl-C is safe: run the same command with --resume."""
    from plif_train.core.api import create_job
    from plif_train.core.loop.devices import check_device, join_ranks, parse_devices

    if (keep_freed_memory := load_from_parts("hooks", "keep_freed_memory")) is not None:
        keep_freed_memory()
    out = options.out
    job: TrainingJob | None = None
    try:
        key_values = {name: value for name, value in vars(keys).items() if value not in (None, [])}
        settings = _parse_settings(recipe.settings or [])
        if duplicates := sorted(key_values.keys() & settings.keys()):
            raise PlifError(
                f"{' '.join(format_option(duplicates[0], settings.get(duplicates[0], '...')))}: {duplicates[0]} is given twice"
            )
        job = create_job(words or [], options, {**key_values, **settings}, is_text=True)
        devices = parse_devices(job.recipe.device)
        for device in devices:
            check_device(device)
        job.check()
        with join_ranks(devices) as (world, rank_device):
            record = job.run(world, rank_device)
    except KeyboardInterrupt:
        hints = [course.resume_hint() for course in job.courses] if job is not None and job.started else []
        raise Interrupted(next(filter(None, hints), "nothing was written")) from None

    if world.rank:
        return
    if output.as_json:
        print_json({"path": str(out), "bytes": out.stat().st_size, **record}, compact=True)
    else:
        say(f"{out}: test accuracy {record['test_accuracy']:.4f} at epoch {record['epoch']} of {record['epochs']}")
        say(f"next: plif export {shlex.quote(str(out))}")


train.context_settings = {"ignore_unknown_options": True}  # type: ignore[attr-defined]  # _check_words refuses them with a hint
