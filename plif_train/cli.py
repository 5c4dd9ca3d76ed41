"""`plif train`: reads options, checks them, trains (plif_train.loop.job), prints.

In Python: plif_train.train.
"""

from __future__ import annotations

import shlex
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from runtime.base.errors import Interrupted, PlifError
from runtime.base.text import say
from runtime.cli.output import print_json

if TYPE_CHECKING:
    from plif_train.loop.job import Job

# the options that say what the network is
_BUILD = (
    "T", "framing", "dropout", "neuron", "init_tau", "tau", "channels", "hidden", "pool", "surrogate", "detach_reset",
)  # fmt: skip
_PRESETS = "mnist fashion-mnist cifar10 nmnist cifar10-dvs dvs128-gesture"


def train(
    context: typer.Context,
    data: Annotated[
        list[str],
        typer.Option(help="NAME:DIR of a data set, e.g. nmnist:data/nmnist; several: the first is the test, too"),
    ],
    network: Annotated[
        str | None,
        typer.Argument(
            help=f"a preset ({_PRESETS}), PRESET:paper, or a notation string; with --from none, or a wider one"
        ),
    ] = None,
    out: Annotated[Path, typer.Option(help="the best epoch; NAME.resume.pt beside it is the last one")] = Path(
        "model.pt"
    ),
    start: Annotated[
        Path | None, typer.Option("--from", help="go on from the weights of a model.pt; other classes: a new readout")
    ] = None,
    mix: Annotated[str | None, typer.Option(help="the shares of several --data in an epoch: 0.5,0.5")] = None,
    vary: Annotated[
        list[str] | None,
        typer.Option(
            help="vary recordings as events: mirror:0.5,stretch:0.7-1.5 (docs/training.md); once, or for each --data"
        ),
    ] = None,
    T: Annotated[int | None, typer.Option("--T", help="time-steps; default: the preset's")] = None,
    epochs: Annotated[int, typer.Option(help="passes over the training split")] = 64,
    batch_size: Annotated[int, typer.Option(help="samples per optimiser step")] = 16,
    lr: Annotated[float, typer.Option(help="Adam's learning rate at the start")] = 1e-3,
    t_max: Annotated[
        int | None, typer.Option(help="the cosine's half period; default: --epochs (paper: 64), resumed: what it was")
    ] = None,
    protocol: Annotated[
        str, typer.Option(help="A: keep the best test epoch; B: the best on 15 % held back; C: the last")
    ] = "A",
    seed: Annotated[int, typer.Option(help="of weights, shuffling, dropout, augmentation")] = 2020,
    resume: Annotated[bool, typer.Option("--resume", help="continue from NAME.resume.pt")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="begin again where NAME.pt is there already")] = False,
    limit_train: Annotated[int | None, typer.Option(help="train on this many samples, spread over the split")] = None,
    limit_test: Annotated[int | None, typer.Option(help="test on this many samples, spread over the split")] = None,
    cache: Annotated[Path | None, typer.Option(help="folder that keeps the frames for the next run")] = None,
    device: Annotated[
        str,
        typer.Option("--device", "--devices", help="cpu, cuda, cuda:1, auto; 0,1 (two GPUs), cpu:2 (two processes)"),
    ] = "auto",
    precision: Annotated[str, typer.Option(help="fp32, bf16 or fp16")] = "fp32",
    framing: Annotated[str | None, typer.Option(help="events to frames: count:T=10, duration:10ms,T=16")] = None,
    size: Annotated[
        str | None, typer.Option(metavar="WIDTHxHEIGHT", help="of the input, for recordings of one's own; 128x128")
    ] = None,
    neuron: Annotated[
        str, typer.Option(help="PLIF, LIF or IF (of a preset), and v_threshold=, v_reset=, decay_input=")
    ] = "PLIF",
    init_tau: Annotated[float, typer.Option(help="tau at the start (PLIF), or for good (LIF)")] = 2.0,
    tau: Annotated[str, typer.Option(help="what shares one tau: layer or channel")] = "layer",
    channels: Annotated[int | None, typer.Option(help="of a preset: convolution channels")] = None,
    hidden: Annotated[int | None, typer.Option(help="of a preset: hidden fully connected neurons")] = None,
    pool: Annotated[str | None, typer.Option(help="of a preset: MP (max) or AP (average)")] = None,
    recipe: Annotated[
        str,
        typer.Option(help="authors (their code), paper (its text) or live (ours, for streams): loss and augmentation"),
    ] = "authors",
    loss: Annotated[str | None, typer.Option(help="rate-mse, step-mse, ce or tet; default: the recipe's")] = None,
    bn: Annotated[str, typer.Option(help="batch statistics: per-step (authors), joint or frozen")] = "per-step",
    surrogate: Annotated[str, typer.Option(help="gradient of a spike: atan, sigmoid or piecewise")] = "atan",
    detach_reset: Annotated[bool, typer.Option(help="the gradient ignores the spike in the reset")] = True,
    dropout: Annotated[float | None, typer.Option(help="probability of every DP layer; default 0.5")] = None,
    clip_norm: Annotated[float | None, typer.Option(help="shorten gradients that are longer than this")] = None,
    bias_limit: Annotated[
        float | None, typer.Option(help="keep folded biases at or below it (0.95): no spikes in silence")
    ] = None,
    rate_penalty: Annotated[float, typer.Option(help="added to the loss per mean firing rate: fewer spikes")] = 0.0,
    accumulate: Annotated[int, typer.Option(help="compute each batch in this many parts, in less memory")] = 1,
    patience: Annotated[int | None, typer.Option(help="stop after this many epochs without a better accuracy")] = None,
    compile_: Annotated[
        bool, typer.Option("--compile", help="fuse the neurons' time-steps with torch.compile (for GPUs)")
    ] = False,
    augment: Annotated[bool, typer.Option(help="the recipe's augmentation (MNIST, CIFAR-10; live: gestures)")] = True,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="log to NAME.tensorboard, too")] = False,
    json: Annotated[bool, typer.Option("--json", help="print the result as one JSON document on stdout")] = False,
) -> None:
    """Train a network and keep its best epoch. Ctrl-C is safe: run the same command with --resume."""
    from plif_train.data.mixture import parse_mix, parts_of
    from plif_train.loop.allocator import keep_freed_memory
    from plif_train.loop.job import Job
    from plif_train.loop.parallel import check_device, join_ranks, parse_devices
    from plif_train.loop.recipe import Recipe, method_named
    from plif_train.loop.resume import resume_path
    from plif_train.network.choice import overrides_from
    from runtime.data import find

    keep_freed_memory()
    job: Job | None = None
    try:
        method = method_named(recipe)
        devices = parse_devices(device)
        for one in devices:
            check_device(one)
        how = Recipe(
            epochs, batch_size, lr, t_max, seed, protocol, precision, devices[0],
            loss or method.loss, bn, rate_penalty, accumulate, patience, compile_, clip_norm, bias_limit,
        )  # fmt: skip
        if not out.parent.is_dir():
            raise PlifError(f"{out.parent}: no such folder, expected one to write {out.name} to")
        for one in data:
            find(one)
        build = {name: context.params[name] for name in _BUILD if _was_typed(context, name)}
        given = overrides_from(network, data[0], size, start, **build)
        parts = parts_of(data, parse_mix(mix), vary or [])
        augmentation = method.augments(data[0], varied=bool(parts)) if augment else None
        job = Job(
            network, data[0], given, how, out, augmentation=augmentation, cache=cache,
            about={"command": _command(context, network, data, out, start), "recipe": recipe},
            limits={"train": limit_train, "test": limit_test},
            resume=resume, overwrite=overwrite, tensorboard=tensorboard, parts=parts, start=start,
        )  # fmt: skip
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
    if json:
        print_json({"path": str(out), "bytes": out.stat().st_size, **record}, compact=True)
    else:
        say(f"{out}: test accuracy {record['test_accuracy']:.4f} at epoch {record['epoch']} of {record['epochs']}")
        say(f"next: plif export {shlex.quote(str(out))}")


def _command(context: typer.Context, network: str | None, data: list[str], out: Path, start: Path | None) -> str:
    """The command as it was typed, without the folders of this machine, which tell the reader of a card nothing."""
    names = [one.partition(":")[0] for one in data]
    shown = {"data": names, "out": out.name, "cache": "cache", "start": start.name if start else ""}
    words = ["plif", "train", *([network] if network is not None else [])]
    for parameter in context.command.params:
        name, value = str(parameter.name), context.params.get(str(parameter.name))
        if name in ("network", "resume", "overwrite", "json") or not _was_typed(context, name):
            continue
        if isinstance(value, bool):
            words.append((parameter.opts if value else parameter.secondary_opts)[0])
        else:
            shown_value = shown.get(name, value)
            for one in shown_value if isinstance(shown_value, (list, tuple)) else [shown_value]:
                words += [parameter.opts[0], str(one)]
    return shlex.join(words)


def _was_typed(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"
