"""`plif train`: reads options, checks them, trains (plif_train.core.loop.job), prints.

In Python: plif_train.train. Options that are keys of a recipe are declared in plif_train.core.recipe.
"""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

from plif_train.core.options import TrainingOptions
from plif_train.core.recipe import KEYS, nearest, option_of, shipped, table, type_of
from runtime.core.base.errors import Interrupted, PlifError
from runtime.core.base.options import Argument, OptionRecord, option
from runtime.core.base.text import say
from runtime.core.cli.output import Output, print_json
from runtime.core.parts import given_by_parts

if TYPE_CHECKING:
    from plif_train.core.loop.job import TrainingJob

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


def _checked(words: list[str] | None) -> list[str] | None:
    """Words that no option took. PlifError for one that looks like an option."""
    for word in words or ():
        if word.startswith("--"):
            key = word[2:].partition("=")[0].removeprefix("no-").replace("-", "_")
            hint = f"type --set {key}=VALUE" if key in KEYS else nearest(key)
            raise PlifError(f"{word}: no such option; {hint} (see plif train --help)")
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
    from plif_train.core.api import job_of
    from plif_train.core.loop.devices import check_device, join_ranks, parse_devices

    if (keep_freed_memory := given_by_parts("hooks", "keep_freed_memory")) is not None:
        keep_freed_memory()
    out = how.out
    job: TrainingJob | None = None
    try:
        typed = {name: value for name, value in vars(keys).items() if value not in (None, [])}
        said = _settings(recipe.settings or [])
        if twice := sorted(typed.keys() & said.keys()):
            raise PlifError(f"{' '.join(option_of(twice[0], said.get(twice[0], '...')))}: {twice[0]} is given twice")
        job = job_of(words or [], how, {**typed, **said}, text=True)
        devices = parse_devices(job.recipe.device)
        for one in devices:
            check_device(one)
        job.check()
        with join_ranks(devices) as (world, own):
            record = job.run(world, own)
    except KeyboardInterrupt:
        left = [course.left() for course in job.courses] if job is not None and job.started else []
        raise Interrupted(next(filter(None, left), "nothing was written")) from None

    if world.rank:
        return
    if output.as_json:
        print_json({"path": str(out), "bytes": out.stat().st_size, **record}, compact=True)
    else:
        say(f"{out}: test accuracy {record['test_accuracy']:.4f} at epoch {record['epoch']} of {record['epochs']}")
        say(f"next: plif export {shlex.quote(str(out))}")


train.context_settings = {"ignore_unknown_options": True}  # type: ignore[attr-defined]  # _checked says more of them
