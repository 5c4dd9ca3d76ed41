"""`plif train`: reads options, builds the network, opens the data, trains, prints.

In Python: plif_train.build, runtime.data.open_dataset, plif_train.data.load_samples, plif_train.train.train.
"""

from __future__ import annotations

import json as json_
import shlex
import sys
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from runtime.base.errors import Interrupted, PlifError

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

    from plif_train.parallel import World
    from plif_train.recipe import Recipe
    from plif_train.train import Epoch

_PRESETS = "mnist fashion-mnist cifar10 nmnist cifar10-dvs dvs128-gesture"

app = typer.Typer(add_completion=False, help="Train spiking networks.")


@app.command()
def train(
    context: typer.Context,
    network: Annotated[str, typer.Argument(help=f"a preset ({_PRESETS}), PRESET:paper, or a notation string")],
    data: Annotated[str, typer.Option(help="NAME:DIR of a data set, e.g. nmnist:data/nmnist")],
    out: Annotated[Path, typer.Option(help="the best epoch; NAME.resume.pt beside it is the last one")] = Path(
        "model.pt"
    ),
    T: Annotated[int | None, typer.Option("--T", help="time-steps; default: the preset's")] = None,
    epochs: Annotated[int, typer.Option(help="passes over the training split")] = 64,
    batch_size: Annotated[int, typer.Option(help="samples per optimiser step")] = 16,
    lr: Annotated[float, typer.Option(help="Adam's learning rate at the start")] = 1e-3,
    t_max: Annotated[
        int | None, typer.Option(help="the cosine's half period; default: --epochs (paper: 64), resumed: what it was")
    ] = None,
    protocol: Annotated[str, typer.Option(help="A: keep the best test epoch; B: the best on 15 % held back")] = "A",
    seed: Annotated[int, typer.Option(help="of weights, shuffling, dropout, augmentation")] = 2020,
    resume: Annotated[bool, typer.Option("--resume", help="continue from NAME.resume.pt")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="begin again where NAME.pt is there already")] = False,
    limit_train: Annotated[int | None, typer.Option(help="train on so many samples, spread over the split")] = None,
    limit_test: Annotated[int | None, typer.Option(help="test on so many samples, spread over the split")] = None,
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
    neuron: Annotated[str, typer.Option(help="of a preset: PLIF, LIF or IF")] = "PLIF",
    init_tau: Annotated[float, typer.Option(help="tau at the start (PLIF), or for good (LIF)")] = 2.0,
    tau: Annotated[str, typer.Option(help="what shares one tau: layer or channel")] = "layer",
    channels: Annotated[int | None, typer.Option(help="of a preset: convolution channels")] = None,
    hidden: Annotated[int | None, typer.Option(help="of a preset: hidden fully connected neurons")] = None,
    pool: Annotated[str | None, typer.Option(help="of a preset: MP (max) or AP (average)")] = None,
    recipe: Annotated[
        str,
        typer.Option(help="authors (their code), paper (its text) or live (ours, for streams): loss and augmentation"),
    ] = ("authors"),
    loss: Annotated[str | None, typer.Option(help="rate-mse, step-mse, ce or tet; default: the recipe's")] = None,
    bn: Annotated[str, typer.Option(help="batch statistics: per-step (authors), joint or frozen")] = "per-step",
    surrogate: Annotated[str, typer.Option(help="gradient of a spike: atan, sigmoid or piecewise")] = "atan",
    detach_reset: Annotated[bool, typer.Option(help="the gradient ignores the spike in the reset")] = True,
    dropout: Annotated[float, typer.Option(help="probability of every DP layer")] = 0.5,
    rate_penalty: Annotated[float, typer.Option(help="added to the loss per mean firing rate: fewer spikes")] = 0.0,
    accumulate: Annotated[int, typer.Option(help="compute each batch in so many parts, in less memory")] = 1,
    patience: Annotated[int | None, typer.Option(help="stop after so many epochs without a better accuracy")] = None,
    compile_: Annotated[
        bool, typer.Option("--compile", help="fuse the neurons' time-steps with torch.compile (for GPUs)")
    ] = False,
    augment: Annotated[bool, typer.Option(help="the recipe's augmentation (MNIST, CIFAR-10; live: gestures)")] = True,
    tensorboard: Annotated[bool, typer.Option("--tensorboard", help="log to NAME.tensorboard, too")] = False,
    json: Annotated[bool, typer.Option("--json", help="print the result as one JSON document on stdout")] = False,
) -> None:
    """Train a network and keep its best epoch. Ctrl-C is safe: run the same command with --resume."""
    import torch

    from plif_train.allocator import keep_freed_memory
    from plif_train.asked import check_sizes, network_for, shape_of
    from plif_train.parallel import check_there, joined, parse_devices
    from plif_train.recipe import RECIPES, Recipe
    from plif_train.resume import check_place, resume_path
    from runtime.data import find

    keep_freed_memory()
    started: list[bool] = []
    try:
        if recipe not in RECIPES:
            raise PlifError(f"recipe '{recipe}' is not known, expected {' or '.join(RECIPES)}")
        devices = parse_devices(device)
        for one in devices:
            check_there(one)
        how = Recipe(
            epochs, batch_size, lr, t_max, seed, protocol, precision, devices[0],
            loss or RECIPES[recipe].loss, bn, rate_penalty, accumulate, patience, compile_,
        )  # fmt: skip
        if not out.parent.is_dir():
            raise PlifError(f"{out.parent}: no such folder, expected one to write {out.name} to")
        find(data)
        check_sizes(network, neuron=neuron, pool=pool, channels=channels, hidden=hidden)
        asked = {
            "T": T, "framing": framing, "init_tau": init_tau, "tau": tau, "surrogate": surrogate,
            "detach_reset": detach_reset, "dropout": dropout, "channels": channels, "hidden": hidden, "pool": pool,
            "neuron": neuron if neuron != "PLIF" else None, "shape": shape_of(size, network, data),
        }  # fmt: skip
        with torch.device("meta"):  # reads the notation, and takes no memory
            network_for(network, data, **asked)
        check_place(out, resume, overwrite)
        augmentation = RECIPES[recipe].augmentation.get(data.partition(":")[0]) if augment else None
        about = {"command": _command(context, network, data, out), "recipe": recipe}
        limits = {"train": limit_train, "test": limit_test}
        with joined(devices) as (world, own):
            record = _train(
                network, data, asked, replace(how, device=own), out,
                about=about, limits=limits, augmentation=augmentation, cache=cache, resume=resume,
                overwrite=overwrite, tensorboard=tensorboard, world=world, started=started,
            )  # fmt: skip
    except KeyboardInterrupt:
        text = "nothing was written"
        if started and resume_path(out).exists():
            text = f"{resume_path(out)} holds the last whole epoch; add --resume to the command to continue"
        raise Interrupted(text) from None

    if world.rank:
        return
    if json:
        print(json_.dumps({"path": str(out), "bytes": out.stat().st_size, **record}))
    else:
        print(f"{out}: test accuracy {record['test_accuracy']:.4f} at epoch {record['epoch']} of {record['epochs']}")
        print(f"next: plif export {shlex.quote(str(out))}")


def _train(
    network: str,
    data: str,
    asked: dict[str, Any],
    recipe: Recipe,
    out: Path,
    *,
    about: dict[str, Any],
    limits: dict[str, int | None],
    augmentation: Callable[[Tensor], Tensor] | None,
    cache: Path | None,
    resume: bool,
    overwrite: bool,
    tensorboard: bool,
    world: World,
    started: list[bool],
) -> dict[str, Any]:
    """What one rank does: network, data, training. `started` gets an entry once files are being written."""
    import torch

    from plif_train import train as training
    from plif_train.asked import network_for, say_outputs
    from plif_train.data import load_samples, spread
    from plif_train.parallel import usable
    from plif_train.resume import read_kept, resume_path
    from runtime.base.progress import Progress
    from runtime.data import find, open_dataset

    usable(recipe.device)
    torch.manual_seed(recipe.seed)
    net = network_for(network, data, **asked)
    name = data.partition(":")[0]
    # Augmentation works on plain images, so those are normalised after it; others as the reader gives them.
    late = net.normalisation if augmentation else None
    progress = Progress()
    if world.rank:
        progress.shown = False
    opened = {}
    for split in limits:
        dataset = open_dataset(
            data,
            split,
            framing=net.framing,
            shape=net.meta.shape,
            normalisation=None if late else net.normalisation,
            classes=net.classes if split == "test" else None,  # the training split says which, and in which order
        )
        if dataset.kind != net.meta.kind:
            raise PlifError(f"data set {name} holds {dataset.kind} samples, but {network} takes {net.meta.kind}")
        if len(dataset.classes) != len(net.classes):
            raise PlifError(say_outputs(name, len(dataset.classes), network, net))
        net.meta = replace(net.meta, classes=tuple(dataset.classes))
        opened[split] = dataset

    # Whatever can be refused is refused before the reading, which may take an hour.
    indices = {split: spread(opened[split], limit) for split, limit in limits.items()}
    labels = torch.tensor([opened["train"].label(i) for i in indices["train"]])
    samples = training.counts(recipe, labels, len(indices["test"]), world)
    about |= {
        "dataset": name,
        "dataset_options": find(data)[2],
        **_simulated(data),
        **{f"limit_{split}": limit for split, limit in limits.items()},
        "augmentation": augmentation.__name__ if augmentation else None,
    }
    if resume:
        t_max = read_kept(resume_path(out), net, recipe, about, samples).t_max
        if recipe.t_max is None and t_max not in (None, recipe.epochs) and not world.rank:
            print(f"note: the cosine keeps its half period of {t_max} epochs; --t-max changes it", file=sys.stderr)
    if net.meta.kind == "events":
        frames = len(opened["train"].sample(indices["train"][0]))
        if frames != net.T:
            raise PlifError(f"framing '{net.framing}' gives {frames} frames, but T is {net.T}; give --T {frames}")
    sets = {
        split: load_samples(opened[split], limit, progress, f"reading {split}", cache)
        for split, limit in limits.items()
    }
    last = next(reversed(net.neurons()), "")
    silent: list[bool] = []

    def report(epoch: Epoch) -> None:
        if world.rank:
            return
        print(_line(epoch, recipe.epochs), file=sys.stderr, flush=True)
        if epoch.firing_rates.get(last, 1.0) > 0:
            silent.clear()
        elif not silent:
            print(
                f"note: {last}, the last layer, did not fire, so every answer is the first class; if it stays so, try "
                "a larger --lr, more events a frame, or BN before the neurons",
                file=sys.stderr,
            )
            silent.append(True)

    started.append(True)
    return training.train(
        net, sets["train"], sets["test"], recipe, out,
        about=about, resume=resume, overwrite=overwrite, augment=augmentation, prepare=_normaliser(late),
        on_epoch=report, progress=progress, tensorboard=tensorboard, world=world,
    )  # fmt: skip


def _simulated(data: str) -> dict[str, str]:
    """What a set that plif made says of itself, for the card: its recordings are not real ones."""
    place = data.partition(":")[2].partition("?")[0]
    note = Path(place) / "simulated.json"
    if not place or not note.is_file():
        return {}
    try:
        return {"simulated": str(json_.loads(note.read_text(encoding="utf-8"))["what"])}
    except (OSError, ValueError, KeyError, TypeError):
        raise PlifError(
            f"{note}: not the note of a simulated set, expected JSON with 'what'; make the set again"
        ) from None


def _normaliser(normalisation: dict[str, list[float]] | None) -> Any:
    if normalisation is None:
        return None
    import torch

    mean, std = (torch.tensor(normalisation[key]).reshape(-1, 1, 1) for key in ("mean", "std"))
    return lambda x: (x - mean) / std


def _command(context: typer.Context, network: str, data: str, out: Path) -> str:
    """What was typed, without the folders of this machine: they say nothing to whoever reads the card."""
    shown = {"network": network, "data": data.partition(":")[0], "out": out.name, "cache": "cache"}
    words = ["plif", "train", network]
    for parameter in context.command.params:
        name, value = str(parameter.name), context.params.get(str(parameter.name))
        source = context.get_parameter_source(name)
        if name in ("network", "resume", "overwrite", "json") or source is None or source.name != "COMMANDLINE":
            continue
        if isinstance(value, bool):
            words.append((parameter.opts if value else parameter.secondary_opts)[0])
        else:
            words += [parameter.opts[0], str(shown.get(name, value))]
    return shlex.join(words)


def _line(epoch: Epoch, epochs: int) -> str:
    rates = " ".join(f"{layer} {rate:.3f}" for layer, rate in epoch.firing_rates.items())
    taus = " ".join(
        f"{layer} {tau:.2f}" if isinstance(tau, float) else f"{layer} {min(tau):.2f}..{max(tau):.2f}"
        for layer, tau in epoch.taus.items()
    )
    val = "" if epoch.val_accuracy is None else f"  val {epoch.val_accuracy:.4f}"
    test = "" if epoch.test_accuracy is None else f"  test {epoch.test_accuracy:.4f}"
    return (
        f"epoch {epoch.epoch}/{epochs}  loss {epoch.loss:.4f}  train {epoch.train_accuracy:.4f}{val}{test}  "
        f"{epoch.seconds:.1f} s  rates {rates}  tau {taus}"
    )


if __name__ == "__main__":
    app()
