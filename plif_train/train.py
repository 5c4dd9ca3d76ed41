"""The training of the authors' code: firing rates against one-hot labels, Adam, a cosine over the epochs.

    loss   mean over batch and classes of (1/T sum_t y_t - one_hot)^2, or another of plif_train.losses
    lr     lr0 (1 + cos(pi e / T_max)) / 2 in epoch e (from 0)

Protocol A trains on the whole training split and keeps the epoch with the best test accuracy (the latest of equals), as
the published numbers do; protocol B holds back 15 % of each class and keeps the epoch with the best accuracy on them.

Files: `model.pt` is the best epoch so far, `model.resume.pt` the last one with all that its continuation needs,
`model.csv` and `model.weights.csv` the course of it.
Each epoch seeds torch's generator from (seed, epoch), so a run that was interrupted and resumed is the run that was
not, bit for bit where the device's kernels are deterministic (they are on a CPU).
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plif_train import checkpoint
from plif_train.data import Samples, split_per_class
from plif_train.log import Log
from plif_train.losses import LOSSES
from plif_train.network import Network, Vote
from plif_train.parallel import World
from plif_train.recipe import PRECISIONS, Recipe
from runtime import card as cards
from runtime.errors import PlifError
from runtime.progress import Progress

Augment = Callable[[Tensor], Tensor]


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave; `epoch` counts from 1, rates and accuracies are 0..1, tau in time-steps."""

    epoch: int
    lr: float
    loss: float
    train_accuracy: float
    val_accuracy: float | None
    test_accuracy: float
    firing_rates: dict[str, float]
    taus: dict[str, float | list[float]]
    seconds: float


@dataclass(frozen=True)
class Score:
    accuracy: float
    correct: int
    samples: int
    firing_rates: dict[str, float]


def resume_path(out: str | Path) -> Path:
    """model.pt -> model.resume.pt"""
    out = Path(out)
    return out.with_name(f"{out.stem}.resume{out.suffix or '.pt'}")


def train(
    net: Network,
    train_set: Samples,
    test_set: Samples,
    recipe: Recipe,
    out: str | Path,
    *,
    about: dict[str, Any] | None = None,
    resume: bool = False,
    augment: Augment | None = None,
    prepare: Augment | None = None,
    on_epoch: Callable[[Epoch], None] | None = None,
    progress: Progress | None = None,
    tensorboard: bool = False,
    world: World | None = None,
) -> dict[str, Any]:
    """Trains `net` in place, writes `out` (best epoch), its resume file (last epoch) and its logs (plif_train.log);
    returns the training record.

    about      goes into the record (data set, command); on resume it must be what it was, as must the recipe except for
               epochs, t_max, patience, device and compile
    augment    train images [B, C, H, W] in 0..1, or recordings [B, T, C, H, W] -> the same; prepare: applied to every
               batch after it (normalisation)
    on_epoch   called after each epoch, its files written
    world      this process among several that call this function with the same arguments; rank 0 writes

    A KeyboardInterrupt may come at any time: the resume file is that of the last whole epoch (before the first one: the
    start). Raises PlifError when weights are no longer finite, or a resume file does not belong to this training.
    """
    out = Path(out)
    about = about or {}
    progress = progress or Progress()
    world = world or World()
    first = world.rank == 0
    device = _device(recipe.device)
    val_set = None
    if recipe.protocol == "B":
        learn, rest = split_per_class(train_set.y)
        if not len(rest):
            raise PlifError(f"protocol B holds back 15 % of each class, {len(train_set)} training samples leave none")
        train_set, val_set = train_set.pick(learn), train_set.pick(rest)

    net.to(device)
    net.bn = recipe.bn
    for neuron in net.neurons().values():
        neuron.compiled = recipe.compile
    world.follow_first(net)
    # One pass over the weights instead of ten: 20 ms for 17 million on one core, 73 ms without.
    optimizer = torch.optim.Adam(net.parameters(), lr=recipe.lr, fused=device.type in ("cpu", "cuda"))
    scaler = torch.amp.GradScaler(device.type, enabled=recipe.precision == "fp16")
    done, best = 0, {"accuracy": -1.0, "epoch": 0}
    if resume:
        done, best = _restore(net, optimizer, scaler, recipe, about, resume_path(out))
        if not out.exists():
            best = {"accuracy": -1.0, "epoch": 0}
    elif first:
        _keep(net, optimizer, scaler, recipe, about, resume_path(out), done, best)
    log = Log(out, done, tensorboard) if first else None
    if log is not None and not done:
        log.start(net)
    record = net.meta.training or {}

    for epoch in range(done, recipe.epochs):
        begun = time.perf_counter()
        torch.manual_seed((recipe.seed * 1_000_003 + epoch) % 2**63)
        for group in optimizer.param_groups:
            group["lr"] = recipe.lr_at(epoch)
        what = f"epoch {epoch + 1}/{recipe.epochs}"
        if recipe.patience is not None and best["epoch"] and epoch - best.get("risen", 0) >= recipe.patience:
            break
        loss, train_accuracy = _one_epoch(
            net, train_set, recipe, optimizer, scaler, augment, prepare, progress, what, world
        )
        _check_finite(net, epoch)
        world.follow_first(net)
        val = evaluate(net, val_set, recipe, prepare=prepare, world=world) if val_set is not None else None
        test = evaluate(net, test_set, recipe, prepare=prepare, world=world)
        result = Epoch(
            epoch + 1,
            recipe.lr_at(epoch),
            loss,
            train_accuracy,
            val.accuracy if val else None,
            test.accuracy,
            test.firing_rates,
            {name: neuron.tau() for name, neuron in net.neurons().items() if neuron.kind != "IF"},
            time.perf_counter() - begun,
        )
        if log is not None:
            log.add(result, net)
        score = test.accuracy if val is None else val.accuracy
        if score >= best["accuracy"]:
            risen = epoch + 1 if score > best["accuracy"] else best.get("risen", best["epoch"])
            best = {"accuracy": score, "epoch": epoch + 1, "risen": risen}
            record = _record(recipe, about, result, train_set, val_set, test_set, device)
            if first:
                checkpoint.save(net, out, record)
        if first:
            _keep(net, optimizer, scaler, recipe, about, resume_path(out), epoch + 1, best)
        if on_epoch is not None:
            on_epoch(result)
    if log is not None:
        log.close()
    if not record and out.exists():  # nothing was left to do
        record = checkpoint.load(out).meta.training or {}
    net.meta = replace(net.meta, training=record)
    return record


def _one_epoch(
    net: Network,
    samples: Samples,
    recipe: Recipe,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    augment: Augment | None,
    prepare: Augment | None,
    progress: Progress,
    what: str,
    world: World,
) -> tuple[float, float]:
    """One pass over the shuffled samples -> (mean loss, accuracy while training), over all ranks."""
    net.train()
    size = min(recipe.batch_size, len(samples))
    batches = list(torch.randperm(len(samples))[: len(samples) // size * size].split(size))  # the rest is dropped
    if world.rank:  # the same batches on every rank, but not the same dropout
        torch.manual_seed(torch.initial_seed() + world.rank)
    criterion = LOSSES[recipe.loss]
    rates: list[Tensor] = []
    watch = net.watch
    if recipe.rate_penalty:
        net.watch = lambda _layer, spikes: rates.append(spikes.mean(dtype=torch.float32))
    total_loss, correct, seen = 0.0, 0, 0
    try:
        for batch in progress.track(batches, what):
            optimizer.zero_grad(set_to_none=True)
            parts = batch.tensor_split(world.size * recipe.accumulate)
            for indices in parts[world.rank * recipe.accumulate : (world.rank + 1) * recipe.accumulate]:
                if not len(indices):
                    continue
                x, y = _batch(samples.pick(indices), recipe, augment, prepare)
                net.reset()
                rates.clear()
                with _autocast(recipe):
                    out = net(x).float()  # [T, B, classes]
                loss = criterion(out, y)
                if rates:
                    loss = loss + recipe.rate_penalty * torch.stack(rates).mean()
                scaler.scale(loss * (len(indices) / len(batch))).backward()
                total_loss += loss.item() * len(y)
                correct += int((out.detach().mean(0).argmax(1) == y).sum())
                seen += len(y)
            world.add_up(parameter.grad for parameter in net.parameters())
            scaler.step(optimizer)
            scaler.update()
            progress.note(f"loss {total_loss / max(seen, 1):.4f}  acc {correct / max(seen, 1):.3f}")
    finally:
        net.watch = watch
        net.reset()
    total_loss, right, counted = world.total([total_loss, correct, seen])
    return total_loss / counted, right / counted


@torch.no_grad()
def evaluate(
    net: Network, samples: Samples, recipe: Recipe, *, prepare: Augment | None = None, world: World | None = None
) -> Score:
    """Accuracy and firing rate per layer in eval mode; decisions as in `decide`. Ranks take turns at the batches."""
    world = world or World()
    was_training, watch = net.training, net.watch
    fired: dict[str, float] = {}
    possible: dict[str, int] = {}

    def note(layer: str, spikes: Tensor) -> None:
        fired[layer] = fired.get(layer, 0.0) + float(spikes.sum(dtype=torch.float64))
        possible[layer] = possible.get(layer, 0) + spikes.numel()

    correct = 0
    try:
        net.eval()
        net.watch = note
        for indices in torch.arange(len(samples)).split(4 * recipe.batch_size)[world.rank :: world.size]:
            x, y = _batch(samples.pick(indices), recipe, None, prepare)
            net.reset()
            with _autocast(recipe):
                out = net(x)
            correct += int((decide(net, out) == y).sum())
    finally:
        net.reset()
        net.watch = watch
        net.train(was_training)
    layers = list(net.neurons())
    sums = world.total([correct, *(n for layer in layers for n in (fired.get(layer, 0), possible.get(layer, 0)))])
    rates = {layer: sums[1 + 2 * i] / sums[2 + 2 * i] for i, layer in enumerate(layers)}
    return Score(sums[0] / len(samples), int(sums[0]), len(samples), rates)


def decide(net: Network, y: Tensor) -> Tensor:
    """The class of each sample of y [T, B, classes]: whole votes are added up (without a vote layer float64 sums),
    ties go to the lowest class."""
    vote = getattr(net, "vote", None)
    total = (y.float() * vote.voters).round().sum(0) if isinstance(vote, Vote) else y.double().sum(0)
    return total.argmax(1)


def _batch(samples: Samples, recipe: Recipe, augment: Augment | None, prepare: Augment | None) -> tuple[Tensor, Tensor]:
    x = samples.x if samples.x.dim() == 5 else samples.x.float()  # recordings stay small while they are augmented
    if augment is not None:
        x = augment(x)
    x = x.float()
    if prepare is not None:
        x = prepare(x)
    x = x.to(recipe.device)
    return (x.transpose(0, 1) if x.dim() == 5 else x), samples.y.to(recipe.device)  # [B, T, ...] -> [T, B, ...]


def _autocast(recipe: Recipe) -> torch.autocast:
    dtype = PRECISIONS[recipe.precision]
    return torch.autocast(torch.device(recipe.device).type, dtype=dtype, enabled=dtype is not None)


def _device(name: str) -> torch.device:
    try:
        device = torch.device(name)
        torch.empty(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).splitlines()[0][:120]
        raise PlifError(f"device '{name}' cannot be used ({reason}); expected cpu, or cuda with a GPU") from None
    return device


def _check_finite(net: Network, epoch: int) -> None:
    # Spikes hide it: a NaN potential never reaches the threshold, and the loss of a silent network is finite.
    for name, parameter in net.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise PlifError(
                f"training: {name} is not finite after epoch {epoch + 1}; the last good one is kept; lower --lr"
            )


# --- what is written ------------------------------------------------------------------------------------------------


def _record(
    recipe: Recipe,
    about: dict[str, Any],
    result: Epoch,
    train_set: Samples,
    val_set: Samples | None,
    test_set: Samples,
    device: torch.device,
) -> dict[str, Any]:
    return {
        **about,
        **_settings(recipe),
        "epochs": recipe.epochs,
        "epoch": result.epoch,
        "t_max": recipe.t_max or recipe.epochs,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "objective": recipe.loss,
        "loss": result.loss,
        "test_accuracy": result.test_accuracy,
        "val_accuracy": result.val_accuracy,
        "train_samples": len(train_set),
        "val_samples": len(val_set) if val_set is not None else 0,
        "test_samples": len(test_set),
        "firing_rates": result.firing_rates,
        "taus": result.taus,
        "versions": checkpoint.versions(),
    }


def _settings(recipe: Recipe) -> dict[str, Any]:
    """What a resumed run must share with the run that it continues."""
    settings = asdict(recipe)
    for free in ("epochs", "t_max", "device", "patience", "compile"):
        del settings[free]
    return settings


def _keep(
    net: Network,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    recipe: Recipe,
    about: dict[str, Any],
    path: Path,
    epoch: int,
    best: dict[str, Any],
) -> None:
    progress = {"epoch": epoch, "best": best, "settings": _settings(recipe), "about": _identity(about)}
    checkpoint.write_atomically(
        {
            "card": cards.encode(checkpoint.card_of(net)),
            "weights": {name: tensor.detach().cpu().contiguous() for name, tensor in net.state_dict().items()},
            "optimizer": optimizer.state_dict(),
            "scaler": scaler.state_dict(),
            "progress": json.dumps(progress),
        },
        path,
    )


def _identity(about: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in about.items() if key != "command"}


def _restore(
    net: Network,
    optimizer: torch.optim.Optimizer,
    scaler: torch.amp.GradScaler,
    recipe: Recipe,
    about: dict[str, Any],
    path: Path,
) -> tuple[int, dict[str, Any]]:
    if not path.exists():
        raise PlifError(f"{path}: no such file, so there is nothing to resume; train without --resume first")
    content = checkpoint.read_tensors(path)
    try:
        progress = json.loads(content["progress"])
        done, best = int(progress["epoch"]), dict(progress["best"])
        # What files of before these options were trained with.
        once = {"loss": "rate-mse", "bn": "joint", "rate_penalty": 0.0, "accumulate": 1}
        once |= {"recipe": "authors"} if "recipe" in about else {}
        then = {**once, **progress["settings"], **progress["about"]}
    except (KeyError, TypeError, ValueError):
        raise PlifError(f"{path}: not a resume file, expected one written by plif train") from None
    saved = checkpoint.network_of(content, path)
    now = {**_settings(recipe), **json.loads(json.dumps(_identity(about)))}
    then |= {"network": str(saved.notation), "options": saved.options, "T": saved.T, "framing": saved.framing}
    now |= {"network": str(net.notation), "options": net.options, "T": net.T, "framing": net.framing}
    for key in sorted(set(then) | set(now)):
        if then.get(key) != now.get(key):
            raise PlifError(
                f"{path}: trained with {key} {then.get(key)}, asked for {now.get(key)}; resume with the same"
            )
    net.load_state_dict(saved.state_dict())
    try:
        optimizer.load_state_dict(content["optimizer"])
        scaler.load_state_dict(content["scaler"])
    except (KeyError, TypeError, ValueError):
        raise PlifError(f"{path}: its optimiser does not fit the network; the file was damaged, train anew") from None
    return done, best
