"""The training of the authors' code: firing rates against one-hot labels, Adam, a cosine over the epochs.

    loss   mean over batch and classes of (1/T sum_t y_t - one_hot)^2, or another of plif_train.losses
    lr     lr0 (1 + cos(pi e / T_max)) / 2 in epoch e (from 0)

Protocol A trains on the whole training split and keeps the epoch with the best test accuracy (the latest of equals), as
the published numbers do; protocol B holds back 15 % of each class, keeps the epoch with the best accuracy on them, and
reads the test set once, at the end, for the epoch that it kept.

Files: `model.pt` is the best epoch so far, `model.resume.pt` the last one with all that its continuation needs
(plif_train.resume), `model.csv` and `model.weights.csv` the course of it (plif_train.log).
Each epoch seeds torch's generator from (seed, epoch), so a run that was interrupted and resumed is the run that was
not, bit for bit where the device's kernels are deterministic (they are on a CPU).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plif_train import checkpoint
from plif_train.data import Samples, split_per_class
from plif_train.evaluate import Augment, batch_of, evaluate
from plif_train.log import Log
from plif_train.losses import LOSSES
from plif_train.network import Network
from plif_train.parallel import World, usable
from plif_train.recipe import PRECISIONS, Recipe
from plif_train.resume import check_place, keep, read_kept, restore, resume_path, settings_of
from runtime.base.errors import PlifError
from runtime.base.progress import Progress


@dataclass(frozen=True)
class Epoch:
    """What one epoch gave; `epoch` counts from 1, rates and accuracies are 0..1, tau in time-steps.

    Rates are those of the test samples; in protocol B of the samples held back, and there is no test accuracy yet.
    """

    epoch: int
    lr: float
    loss: float
    train_accuracy: float
    val_accuracy: float | None
    test_accuracy: float | None
    firing_rates: dict[str, float]
    taus: dict[str, float | list[float]]
    seconds: float


def train(
    net: Network,
    train_set: Samples,
    test_set: Samples,
    recipe: Recipe,
    out: str | Path,
    *,
    about: dict[str, Any] | None = None,
    resume: bool = False,
    overwrite: bool = False,
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
               epochs, t_max (None is what it was), patience, device and compile, and the numbers of samples
    overwrite  begin again where `out` or its resume file is there; without it that is refused
    augment    train images [B, C, H, W] in 0..1, or recordings [B, T, C, H, W] -> the same; prepare: applied to every
               batch after it (normalisation)
    on_epoch   called after each epoch, its files written
    world      this process among several that call this function with the same arguments; rank 0 writes

    A KeyboardInterrupt may come at any time: the resume file is that of the last whole epoch (before the first one: the
    start). Raises PlifError when weights are no longer finite, a resume file does not belong to this training, or a
    file would be overwritten that nobody gave up.
    """
    out = Path(out)
    about = about or {}
    progress = progress or Progress()
    world = world or World()
    first = world.rank == 0
    device = usable(recipe.device)
    samples = counts(recipe, train_set.y, len(test_set), world)
    check_place(out, resume, overwrite)
    val_set = None
    if recipe.protocol == "B":
        learn, rest = split_per_class(train_set.y)
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
        kept = read_kept(resume_path(out), net, recipe, about, samples)
        restore(kept, net, optimizer, scaler, resume_path(out))
        done, best = kept.done, kept.best
        recipe = replace(recipe, t_max=recipe.t_max or kept.t_max)
        if not out.exists():
            best = {"accuracy": -1.0, "epoch": 0}
    elif first:
        keep(net, optimizer, scaler, recipe, about, samples, resume_path(out), done, best)
    log = Log(out, done, tensorboard) if first else None
    if log is not None and not done:
        log.start(net)
    record: dict[str, Any] = {}

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
        # Protocol B must not see the test set before its choice is made.
        score = evaluate(net, test_set if val_set is None else val_set, recipe, prepare=prepare, world=world)
        result = Epoch(
            epoch + 1,
            recipe.lr_at(epoch),
            loss,
            train_accuracy,
            None if val_set is None else score.accuracy,
            score.accuracy if val_set is None else None,
            score.firing_rates,
            {name: neuron.tau() for name, neuron in net.neurons().items() if neuron.kind != "IF"},
            time.perf_counter() - begun,
        )
        if log is not None:
            log.add(result, net)
        done = epoch + 1
        if score.accuracy >= best["accuracy"]:
            risen = done if score.accuracy > best["accuracy"] else best.get("risen", best["epoch"])
            best = {"accuracy": score.accuracy, "epoch": done, "risen": risen}
            record = _record(recipe, about, result, samples, device)
            if first:
                checkpoint.save(net, out, record)
        if first:
            keep(net, optimizer, scaler, recipe, about, samples, resume_path(out), done, best)
        if on_epoch is not None:
            on_epoch(result)
    if log is not None:
        log.close()
    if not record:  # nothing was left to do, or nothing was better
        if not out.exists():
            raise PlifError(f"{out}: not there, and no epochs are left to make it; raise --epochs, or --overwrite")
        record = checkpoint.load(out).meta.training or {}
    if record.get("test_accuracy") is None:
        record = _test_once(net, test_set, recipe, record, out, prepare, world)
    record = {**record, "epochs": max(recipe.epochs, done)}
    net.meta = replace(net.meta, training=record)
    return record


def counts(recipe: Recipe, labels: Tensor, test_samples: int, world: World) -> dict[str, int]:
    """How many samples are trained on, held back and tested on, from the labels of the training split alone.

    PlifError when protocol B can hold back none, or a batch has no part for each of the processes.
    """
    held = 0
    if recipe.protocol == "B":
        held = len(split_per_class(labels)[1])
        if not held:
            raise PlifError(f"protocol B holds back 15 % of each class, {len(labels)} training samples leave none")
    size = min(recipe.batch_size, len(labels) - held)
    least = (world.size - 1) * recipe.accumulate + 1
    if world.size > 1 and size < least:
        raise PlifError(
            f"batches of {size} have no part for each of {world.size} processes; expected at least {least}: raise "
            "--batch-size (and have as many samples), or name fewer --devices"
        )
    return {"train_samples": len(labels) - held, "val_samples": held, "test_samples": test_samples}


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
                x, y = batch_of(samples.pick(indices), recipe, augment, prepare)
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


def _test_once(
    net: Network,
    test_set: Samples,
    recipe: Recipe,
    record: dict[str, Any],
    out: Path,
    prepare: Augment | None,
    world: World,
) -> dict[str, Any]:
    """Protocol B's one reading of the test set, by the epoch that was kept -> its record, also in `out`."""
    last = {name: tensor.clone() for name, tensor in net.state_dict().items()}
    try:
        if world.rank == 0:
            net.load_state_dict(checkpoint.load(out).state_dict())
        world.follow_first(net)
        score = evaluate(net, test_set, recipe, prepare=prepare, world=world)
        record = {**record, "test_accuracy": score.accuracy, "firing_rates": score.firing_rates}
        if world.rank == 0:
            checkpoint.save(net, out, record)
    finally:
        net.load_state_dict(last)
    return record


def _autocast(recipe: Recipe) -> torch.autocast:
    dtype = PRECISIONS[recipe.precision]
    return torch.autocast(torch.device(recipe.device).type, dtype=dtype, enabled=dtype is not None)


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
    samples: dict[str, int],
    device: torch.device,
) -> dict[str, Any]:
    return {
        **about,
        **settings_of(recipe),
        "epochs": recipe.epochs,
        "epoch": result.epoch,
        "t_max": recipe.t_max or recipe.epochs,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "objective": recipe.loss,
        "loss": result.loss,
        "test_accuracy": result.test_accuracy,
        "val_accuracy": result.val_accuracy,
        **samples,
        "firing_rates": result.firing_rates,
        "taus": result.taus,
        "versions": checkpoint.versions(),
    }
