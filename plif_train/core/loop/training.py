"""The training loop of the authors' code: firing rates against one-hot labels, Adam, a cosine over the epochs.

    loss   mean over batch and classes of (1/T sum_t y_t - one_hot)^2, or another of plif_train.core.network.losses
    lr     lr0 (1 + cos(pi e / T_max)) / 2 in epoch e (from 0)

Protocol A trains on the whole training split and keeps the epoch with the best test accuracy (the latest of equals),
as the published numbers do. Protocol C keeps the last epoch. Protocol B holds back 15 % of each class and keeps the
epoch with the best accuracy on them. It reads the test set once, at the end, for the epoch that it kept.

`model.pt` is the best epoch so far; a part keeps the last one, for --resume, and the course (TrainingRecorder in
hooks.py). Each epoch seeds torch's generator from (seed, epoch), so a run that was interrupted and resumed equals an
uninterrupted one, bit for bit where the device's kernels are deterministic (they are on a CPU).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from plif_train.core.data.sets import Samples, TrainSet, split_per_class
from plif_train.core.loop import checkpoint
from plif_train.core.loop.devices import World, open_device, parse_devices
from plif_train.core.loop.evaluate import Augment, Score, evaluate, make_batch
from plif_train.core.loop.hooks import Epoch, Hook, TrainingState, create_hooks, open_recorders, use_master_weights
from plif_train.core.network.losses import LOSSES, count_correct
from plif_train.core.network.network import Network
from plif_train.core.recipe import Recipe
from runtime.core.base.errors import PlifError
from runtime.core.base.progress import Progress

PRECISIONS = {"fp32": None, "bf16": torch.bfloat16, "fp16": torch.float16}


def train(
    net: Network,
    train_set: TrainSet,
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
    tensorboard: bool = False,
    world: World | None = None,
) -> dict[str, Any]:
    """Train `net` in place, write its best epoch to `out`, and logs next to it; return the training record.

    about        goes into the record (data set, command). On resume it must be equal, as must the numbers of samples
                 and the recipe, except for epochs, t_max (None is the earlier one), patience, device and compile
    overwrite    begin again if `out` or its resume file exists; without it that is refused
    augment      train images [B, C, H, W] in 0..1, or recordings [B, T, C, H, W] -> the same; prepare: applied to every
                 batch after it (normalisation)
    on_epoch     called after each epoch, its files written
    world        this process among several that call this function with the same arguments; rank 0 writes

    A KeyboardInterrupt may come at any time: the resume file is that of the last whole epoch (before the first one: the
    start). Raises PlifError when weights are no longer finite, a resume file does not belong to this training, or a
    file would be replaced without `overwrite`.
    """
    out = Path(out)
    about = about or {}
    world = world or World()
    is_first_rank = world.rank == 0
    recipe = replace(recipe, device=parse_devices(recipe.device)[0])
    device = open_device(recipe.device)
    samples = count_samples(recipe, train_set.y, len(test_set), world)
    courses = open_recorders(out, resume, overwrite, tensorboard)
    # Protocol B must not see the test set before its choice is made.
    judging_set = test_set
    if recipe.protocol == "B":
        if not isinstance(train_set, Samples):
            raise PlifError("protocol B holds back samples, which windows of events are not; use A or C")
        learned, held_back = split_per_class(train_set.y)
        train_set, judging_set = train_set.pick(learned), train_set.pick(held_back)

    net.to(device)
    net.bn = recipe.bn
    for neuron in net.neurons().values():
        neuron.compiled = recipe.compile
    world.broadcast_weights(net)
    loop = _Loop(
        net=net, recipe=recipe, augment=augment, prepare=prepare, world=world, about=about, samples=samples,
        processes=world.size,
    )  # fmt: skip
    with use_master_weights(loop.hooks):
        for course in courses:
            course.restore(loop)
    recipe, epochs_done, best = loop.recipe, loop.epochs_done, loop.best
    courses = courses if is_first_rank else []
    for course in courses:
        course.begin(loop)
    record: dict[str, Any] = {}

    for epoch in range(epochs_done, recipe.epochs):
        begun = time.perf_counter()
        # From the epoch's number, so that a resumed training draws what the uninterrupted one does.
        torch.manual_seed((recipe.seed * 1_000_003 + epoch) % 2**63)
        if recipe.patience is not None and best["epoch"] and epoch - best.get("risen", 0) >= recipe.patience:
            break
        loss, train_accuracy = loop.run_epoch(train_set, epoch)
        _check_finite(net, epoch)
        world.broadcast_weights(net)
        score = loop.evaluate(judging_set)
        epochs_done = epoch + 1
        epoch_results = Epoch(
            epochs_done,
            recipe.lr_at(epoch),
            loss,
            train_accuracy,
            score.accuracy if recipe.protocol == "B" else None,
            score.accuracy if recipe.protocol != "B" else None,
            score.firing_rates,
            {name: neuron.tau() for name, neuron in net.neurons().items() if neuron.kind != "IF"},
            time.perf_counter() - begun,
            world.size,
        )
        for course in courses:
            course.add_epoch(loop, epoch_results)
        if score.accuracy >= best["accuracy"] or recipe.protocol == "C":
            risen = epochs_done if score.accuracy > best["accuracy"] else best.get("risen", best["epoch"])
            best = {"accuracy": score.accuracy, "epoch": epochs_done, "risen": risen}
            record = _make_record(recipe, about, epoch_results, {**samples, "processes": loop.processes}, device)
            if is_first_rank:
                checkpoint.save(net, out, record)
        loop.epochs_done, loop.best = epochs_done, best
        with use_master_weights(loop.hooks):
            for course in courses:
                course.save_epoch(loop)
        if on_epoch is not None:
            on_epoch(epoch_results)
    for course in courses:
        course.close()
    if not record:  # no epoch was left, or none was better
        if not out.exists():
            raise PlifError(f"{out}: not there, and no epochs are left to make it; raise --epochs, or --overwrite")
        record = checkpoint.load(out).meta.training or {}
    if record.get("test_accuracy") is None:
        record = loop.test_best(test_set, out, record)
    record = {**record, "epochs": max(recipe.epochs, epochs_done)}
    net.meta = replace(net.meta, training=record)
    return record


def count_samples(recipe: Recipe, labels: Tensor, test_samples: int, world: World) -> dict[str, int]:
    """Count the samples, with labels [N], to train on, to hold back for validation and to test on.

    Raises PlifError for a loss that does not exist, if protocol B can hold back no sample, or if a batch has no part
    for each process.
    """
    if recipe.loss not in LOSSES:
        raise PlifError(f"loss {recipe.loss}: not in this plif, which has {', '.join(LOSSES)}")
    held_back = 0
    if recipe.protocol == "B":
        held_back = len(split_per_class(labels)[1])
        if not held_back:
            raise PlifError(f"protocol B holds back 15 % of each class, {len(labels)} training samples leave none")
    size = min(recipe.batch_size, len(labels) - held_back)
    least = (world.size - 1) * recipe.accumulate + 1
    if world.size > 1 and size < least:
        raise PlifError(
            f"batches of {size} have no part for each of {world.size} processes; expected at least {least}: raise "
            "--batch-size (and have as many samples), or name fewer --devices"
        )
    return {"train_samples": len(labels) - held_back, "val_samples": held_back, "test_samples": test_samples}


@dataclass(kw_only=True)
class _Loop(TrainingState):
    """The state and the settings that all epochs of a training loop share."""

    augment: Augment | None
    prepare: Augment | None
    hooks: list[Hook] = field(init=False)

    def __post_init__(self) -> None:
        device = torch.device(self.recipe.device).type
        # One pass over the weights instead of ten: 20 ms for 17 million on one core, 73 ms without.
        fused = device in ("cpu", "cuda")
        self.optimizer = torch.optim.Adam(self.net.parameters(), lr=self.recipe.lr, fused=fused)
        self.scaler = torch.amp.GradScaler(device, enabled=self.recipe.precision == "fp16")
        self.hooks = create_hooks(self.net, self.recipe)
        for hook in self.hooks:
            hook.start()

    def run_epoch(self, samples: TrainSet, epoch: int) -> tuple[float, float]:
        """Train one epoch on the shuffled samples; return (mean loss, training accuracy) over all processes."""
        net, recipe, world = self.net, self.recipe, self.world
        kind, dtype = torch.device(recipe.device).type, PRECISIONS[recipe.precision]
        for group in self.optimizer.param_groups:
            group["lr"] = recipe.lr_at(epoch)
        size = min(recipe.batch_size, len(samples))
        batches = samples.draw_order()[: len(samples) // size * size].split(size)  # the last, smaller batch is dropped
        if world.rank:  # the same batches on every rank, but not the same dropout
            torch.manual_seed(torch.initial_seed() + world.rank)
        rates: list[Tensor] = []
        watch = (lambda _, spikes: rates.append(spikes.mean(dtype=torch.float32))) if recipe.rate_penalty else net.watch
        total_loss, correct, judged, learnt = 0.0, 0, 0, 0
        title = f"epoch {epoch + 1}/{recipe.epochs}"
        with net.watch_spikes(watch, training=True), Progress(title, shown=not world.rank) as progress:
            for number, batch in enumerate(batches, 1):
                self.optimizer.zero_grad(set_to_none=True)
                parts = batch.tensor_split(world.size * recipe.accumulate)
                for indices in parts[world.rank * recipe.accumulate : (world.rank + 1) * recipe.accumulate]:
                    if not len(indices):
                        continue
                    x, y = make_batch(samples.pick(indices), recipe.device, self.augment, self.prepare)
                    net.reset()
                    rates.clear()
                    with torch.autocast(kind, dtype, enabled=dtype is not None):
                        out = net(x).float()  # [T, B, classes]
                    loss = LOSSES[recipe.loss](out, y)
                    if rates:
                        loss = loss + recipe.rate_penalty * torch.stack(rates).mean()
                    # Weighted by size, so that the sum over parts and ranks is the gradient of the whole batch.
                    self.scaler.scale(loss * (len(indices) / len(batch))).backward()
                    total_loss += loss.item() * len(indices)
                    right, with_class = count_correct(out.detach(), y)
                    correct, judged, learnt = correct + right, judged + with_class, learnt + len(indices)
                world.sum_gradients(parameter.grad for parameter in net.parameters())
                if recipe.clip_norm is not None:
                    self.scaler.unscale_(self.optimizer)
                    torch.nn.utils.clip_grad_norm_(net.parameters(), recipe.clip_norm)
                with use_master_weights(self.hooks):
                    self.scaler.step(self.optimizer)
                self.scaler.update()
                for hook in self.hooks:
                    hook.after_step()
                note = f"loss {total_loss / max(learnt, 1):.4f}  acc {correct / max(judged, 1):.3f}"
                progress.update(number, len(batches), note)
        total_loss, learnt_in_all, right_in_all, counted = world.sum_numbers([total_loss, learnt, correct, judged])
        return total_loss / learnt_in_all, right_in_all / max(counted, 1)

    def evaluate(self, samples: Samples) -> Score:
        return evaluate(self.net, samples, self.recipe, prepare=self.prepare, world=self.world)

    def test_best(self, test_set: Samples, out: Path, record: dict[str, Any]) -> dict[str, Any]:
        """Evaluate the best epoch on the test set once, after a training with a validation split; return its record.

        The record is also written to `out`.
        """
        net, is_first_rank = self.net, self.world.rank == 0
        last = {name: tensor.clone() for name, tensor in net.state_dict().items()}
        try:
            if is_first_rank:
                net.load_state_dict(checkpoint.load(out).state_dict())
            self.world.broadcast_weights(net)
            score = self.evaluate(test_set)
            record = {**record, "test_accuracy": score.accuracy, "firing_rates": score.firing_rates}
            if is_first_rank:
                checkpoint.save(net, out, record)
        finally:
            net.load_state_dict(last)
        return record


def _check_finite(net: Network, epoch: int) -> None:
    # Spikes hide it: a NaN potential never reaches the threshold, and the loss of a silent network is finite.
    for name, parameter in net.named_parameters():
        if not bool(torch.isfinite(parameter).all()):
            raise PlifError(
                f"training: {name} is not finite after epoch {epoch + 1}; the last good one is kept; lower --lr"
            )


def _make_record(
    recipe: Recipe,
    about: dict[str, Any],
    epoch_results: Epoch,
    counts: dict[str, int],
    device: torch.device,
) -> dict[str, Any]:
    return {
        **about,
        "recipe": recipe.to_dict(),
        "epochs": recipe.epochs,
        "epoch": epoch_results.epoch,
        "device": torch.cuda.get_device_name(device) if device.type == "cuda" else device.type,
        "loss": epoch_results.loss,
        "test_accuracy": epoch_results.test_accuracy,
        "val_accuracy": epoch_results.val_accuracy,
        **counts,
        "firing_rates": epoch_results.firing_rates,
        "taus": epoch_results.taus,
        "versions": checkpoint.get_versions(),
    }
