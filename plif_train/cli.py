"""`plif train`: reads options, checks them, trains (plif_train.loop.job), prints.

In Python: plif_train.train. Options that are keys of a recipe are declared in plif_train.recipe.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

from plif_train.options import TrainingOptions
from plif_train.recipe import KEYS, nearest, option_of, read_recipe, shipped, table, type_of
from runtime.base.errors import Interrupted, PlifError
from runtime.base.options import Argument, OptionRecord, option
from runtime.base.text import say
from runtime.cli.output import Output, print_json

if TYPE_CHECKING:
    from plif_train.loop.job import TrainingJob

_PRESETS = "mnist fashion-mnist cifar10 nmnist cifar10-dvs dvs128-gesture"


def _typed() -> type[OptionRecord]:
    """The keys of a recipe that are options of the command, as a record of options; None: not given."""
    given = {}
    for name, key in KEYS.items():
        if key.metadata["flag"]:
            kind, many, _ = type_of(name)
            typed: Any = (list[str] if many and key.metadata["split"] == ";" else str if many else kind) | None
            flags = ["--devices", "--device"] if name == "device" else []
            default = "" if key.default in (None, ()) else f" [{key.default}]"
            help = key.metadata["help"]
            given[name] = option(f"{help[0].upper()}{help[1:]}{default}.", *flags, default=None, typed=typed)
    return type(
        "Typed", (OptionRecord,), {"__annotations__": dict.fromkeys(given, Any), "__module__": __name__, **given}
    )


if TYPE_CHECKING:
    Typed = OptionRecord
else:
    Typed = _typed()


def _show_keys() -> None:
    for name, may, default, help in table():
        say(f"{name:<13} {help}", f"{'':<13} {may}{f'; {default}' if default else ''}")


class RecipeOptions(OptionRecord):
    """Keys of a recipe that have no option of their own."""

    settings: list[str] | None = option(
        "Any key of a recipe; several times.", "--set", default=None, metavar="KEY=VALUE"
    )
    help_recipe: bool = option("What --set takes.", "--help-recipe", default=False, eager=_show_keys)


def _taken_apart(words: list[str]) -> tuple[list[str], dict[str, Any], dict[str, Any], list[str]]:
    """Words that no option took -> (recipe and network, a loss and augmentation that other options may change, keys that options
    of before recipes give, what to type now).

    For one release: an option whose name is a key is `--set KEY=VALUE`, and --recipe NAME stood for a loss and augmentation.
    """
    found: list[str] = []
    method: dict[str, Any] = {}
    keys: dict[str, Any] = {}
    notes = []
    left = iter(words)
    for word in left:
        name, mark, value = word.removeprefix("--").partition("=")
        key, no = name.removeprefix("no-").replace("-", "_"), name.startswith("no-")
        truth = key in KEYS and type_of(key)[0] is bool
        if not word.startswith("--"):
            found.append(word)
            continue
        if key not in ("recipe", *KEYS):
            raise PlifError(f"{word}: no such option; {nearest(key)} (see plif train --help)")
        if no or (truth and not mark):
            value = ("false" if truth else "none") if no else "true"
        elif not mark:
            value = next(left, "")
            word += f" {value}"
        if key == "recipe":
            older = read_recipe(value)
            method = {"loss": older.loss, "augment": older.augment}
            notes.append(f"{word} is now: plif train {value}")
        else:
            keys[key] = value
            notes.append(f"{word} is now: {shlex.join(option_of(key, value))}")
    return found, method, keys, notes


def _checked(context: Any, argument: Any, words: list[str]) -> list[str]:
    _taken_apart(words)
    return words


def _settings(pairs: list[str]) -> dict[str, Any]:
    """["clip_norm=1"] -> {"clip_norm": "1"}"""
    found: dict[str, Any] = {}
    for pair in pairs:
        name, mark, value = pair.partition("=")
        if not mark or name in found:
            raise PlifError(f"--set {pair}: expected KEY=VALUE, each key once, as in --set clip_norm=1")
        found[name] = value
    return found


def train(
    words: Annotated[
        list[str] | None,
        Argument(
            f"RECIPE: a .toml, or {' '.join(shipped())}; NETWORK: {_PRESETS}, or a notation string",
            metavar="[RECIPE] [NETWORK]",
            callback=_checked,
        ),
    ] = None,
    *,
    how: TrainingOptions,
    recipe: RecipeOptions,
    keys: Typed,
    output: Output,
) -> None:
    """Train a network and keep its best epoch. Ctrl-C is safe: run the same command with --resume."""
    from plif_train.api import job_of
    from plif_train.loop.allocator import keep_freed_memory
    from plif_train.loop.parallel import check_device, join_ranks, parse_devices
    from plif_train.loop.resume import resume_path

    keep_freed_memory()
    out = how.out
    job: TrainingJob | None = None
    try:
        named, method, older, notes = _taken_apart(words or [])
        for note in notes:
            say(f"plif: {note}", err=True)
        typed = {name: value for name, value in vars(keys).items() if value not in (None, [])}
        said = _settings(recipe.settings or [])
        if twice := sorted((typed.keys() & said.keys()) | (older.keys() & {*typed, *said})):
            raise PlifError(f"{' '.join(option_of(twice[0], said.get(twice[0], '...')))}: {twice[0]} is given twice")
        job = job_of(named, how, {**method, **typed, **said, **older}, text=True)
        devices = parse_devices(job.recipe.device)
        for one in devices:
            check_device(one)
        job.check()
        with join_ranks(devices) as (world, own):
            record = job.run(world, own)
    except KeyboardInterrupt:
        text = "nothing was written"
        if job is not None and job.started and resume_path(out).exists():
            text = f"{resume_path(out)} holds the last whole epoch; add --resume to the command to continue"
        raise Interrupted(text) from None

    if world.rank:
        return
    if output.as_json:
        print_json({"path": str(out), "bytes": out.stat().st_size, **record}, compact=True)
    else:
        say(f"{out}: test accuracy {record['test_accuracy']:.4f} at epoch {record['epoch']} of {record['epochs']}")
        say(f"next: plif export {shlex.quote(str(out))}")


train.context_settings = {"ignore_unknown_options": True}  # type: ignore[attr-defined]  # _taken_apart reads the others
