"""What makes two trainings comparable: every setting counts, but for those that are listed as not mattering."""

from __future__ import annotations

from dataclasses import fields, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from plif_train import build
from plif_train.commands.paper_rows.conditions import NOT_COMPARED, read_conditions
from plif_train.commands.paper_rows.logs import load_authors_runs, parse_log_conditions
from plif_train.commands.paper_rows.standing import AuthorsComparison, accuracy_spread, compare_with_authors
from plif_train.core.loop.checkpoint import make_card
from plif_train.core.loop.hooks import find_augmentation
from plif_train.core.loop.training import train
from plif_train.core.network.network import Meta, Options
from plif_train.core.recipe import KEYS, NETWORK, Recipe
from plif_train.hooks.kept_epochs.log import epochs_path, read_log, read_model_log
from runtime.core.base.errors import PlifError
from runtime.core.model.card import read_card
from tests.plif_train.commands.paper_rows.paper_runs import FASHION, TRAINING
from tests.plif_train.core.small import bars, network

OTHER: dict[type, dict[str, Any]] = {  # every field of these, with another value than the authors'
    Recipe: {
        "epochs": 3, "batch_size": 8, "lr": 2e-3, "t_max": 10, "seed": 1, "protocol": "C", "precision": "bf16", "weights": "int4",
        "device": "cuda:1", "loss": "ce", "bn": "joint", "rate_penalty": 0.1, "accumulate": 2, "patience": 3,
        "compile": True, "clip_norm": 1.0, "bias_limit": 0.95, "slow": 0.25, "fixed": "conv1",
        "augment": "random_affine", "mix": (0.5,),
        "vary": ("thin:0.5",), "data": ("folder",), "limit_train": 10, "limit_test": 10,
    },
    Options: {
        "bias": True, "v_threshold": 0.5, "v_reset": None, "decay_input": False, "detach_reset": False,
        "tau": "channel", "init_tau": 3.0, "surrogate": "sigmoid", "dropout": 0.1,
    },
    Meta: {
        "kind": "events", "shape": (1, 56, 56), "T": 6, "classes": tuple("abcdefghij"), "framing": "count:T=8",
        "normalisation": {"mean": [0.0], "std": [1.0]}, "training": {"command": "x"}, "view": "upright",
        "sensor": (28, 28), "trained_on": {"samples": 1}, "rules": {"decide": {"rule": "own:200ms,margin=0.6"}},
    },
}  # fmt: skip


def card(of: type = Recipe, **changed: Any) -> Any:
    """The card of a training like the authors' but for one field, as training._record writes it."""
    recipe = replace(Recipe(t_max=64), **(changed if of is Recipe else {}))
    augmentation = find_augmentation(recipe.augment, "fashion-mnist")
    record = {**TRAINING, "recipe": recipe.to_dict(), "augmentation": augmentation.__name__ if augmentation else None}
    with torch.device("meta"):
        net = build("fashion-mnist", **(changed if of is Options else {}))
    if of is Meta:
        record |= changed.pop("training", {})
        net.meta = replace(net.meta, **changed)
    return make_card(net, {**record, "loss": 0.1})


def test_every_field_is_compared_or_listed_as_not_mattering() -> None:
    authors = parse_log_conditions(FASHION)
    assert read_conditions(card()).differences(authors) == []
    for of, values in OTHER.items():
        of_network = {name for name, key in KEYS.items() if key.metadata["group"] == NETWORK} if of is Recipe else set()
        wanted = {field.name for field in fields(of)} - of_network  # the network is compared as the card has it
        assert set(values) == wanted, "a new field: give it another value here"
        for name, value in values.items():
            differs = read_conditions(card(of, **{name: value})).differences(authors)
            alone = name == "data"  # of one set, not varied: the data set itself is compared
            assert bool(differs) == (name not in NOT_COMPARED and not alone), (name, differs)
    assert set(NOT_COMPARED) < {name for values in OTHER.values() for name in values} | set(KEYS)


def test_a_cosine_that_was_changed_on_the_way_is_seen_in_the_log(tmp_path: Path) -> None:
    out = tmp_path / "model.pt"

    def left() -> str | None:
        return read_conditions(read_card(out), read_log(epochs_path(out)), out).lr_left

    recipe = Recipe(epochs=2, t_max=4, batch_size=8, protocol="C")
    record = train(network(), bars(16), bars(8), recipe, out)
    assert record["processes"] == 1 and left() is None
    log = epochs_path(out).read_text().splitlines()
    first, at = log[0].split(","), log[0].split(",").index("processes")
    assert first[at - 1] == "seconds" and [line.split(",")[at] for line in log[1:]] == ["1", "1"]
    older = [line.split(",")[:at] + line.split(",")[at + 1 :] for line in log]  # of a version that did not count them
    epochs_path(out).write_text("".join(",".join(cells) + "\n" for cells in older))
    train(network(), bars(16), bars(8), replace(recipe, epochs=3, t_max=64), out, resume=True)
    rows = read_model_log(out, read_card(out)["training"])
    assert [row["processes"] for row in rows] == ["", "", "1"]
    assert left() == "0.000853553 in epoch 2 (0.000999398)"


def standing(run: str, accuracy: float, **record: Any) -> AuthorsComparison:
    """Of a training like this one of the authors', after epoch 5."""
    wanted = parse_log_conditions(run)
    with torch.device("meta"):
        net = build(wanted.dataset)
    of_it = {"train_samples": wanted.train_samples, "dataset": wanted.dataset, "protocol": wanted.recipe.protocol}
    column = "val_accuracy" if wanted.recipe.protocol == "B" else "test_accuracy"
    row = {
        "epoch": "5",
        "lr": str(Recipe(t_max=64).lr_at(4)),
        "val_accuracy": "",
        "test_accuracy": "",
        "tau:fc1": "1.4",
    }
    found = compare_with_authors(
        make_card(net, {**TRAINING, **of_it, "augmentation": wanted.recipe.augment, **record}),
        [row | {column: str(accuracy)}], load_authors_runs()[run],
    )  # fmt: skip
    assert found is not None
    return found


def test_the_spread_is_as_wide_as_the_samples_that_were_judged_allow() -> None:
    run = load_authors_runs()["B-FashionMNIST-PLIF-tau2-max-T8"]
    assert run.judged_samples == 8992 and load_authors_runs()[FASHION].judged_samples == 10000  # 562 batches of 16
    assert load_authors_runs()["B-DVS128Gesture-PLIF-tau2-max-T20-n5-number"].judged_samples == 128
    low, _ = accuracy_spread(run, 0)
    worst = run.val[:3].min()
    assert low == pytest.approx(worst - 1.96 * (worst * (1 - worst) / 8992) ** 0.5)
    ends = np.array(
        [accuracy_spread(one, at) for one in load_authors_runs().values() for at in (0, len(one.epoch) - 1)]
    )
    assert (ends >= 0).all() and (ends <= 1).all()


def test_there_is_no_verdict_where_the_authors_judged_other_pictures() -> None:
    run = load_authors_runs()["B-MNIST-PLIF-tau2-max-T8"]
    augmented = standing(run.name, float(run.val[4]))
    assert augmented.inside is None and augmented.differences == ["pictures held back: as they are, not random_affine"]
    plain = load_authors_runs()["B-FashionMNIST-PLIF-tau2-max-T8"]
    assert standing(plain.name, float(plain.val[4])).inside is True


def test_what_is_held_back_is_called_validation_and_the_test_stands_beside_the_authors() -> None:
    run = load_authors_runs()["B-FashionMNIST-PLIF-tau2-max-T8"]
    whole, begun = (standing(run.name, float(run.val[4]), test_accuracy=tested) for tested in (0.9, None))
    best = max(range(5), key=lambda e: (run.val[e], e))
    assert whole.test == (0.9, run.test[best]) and begun.test is None
    first, second, _ = whole.lines()
    assert first.startswith(
        f"epoch 5: validation {100 * run.val[4]:.2f} %, the authors {100 * run.val[4]:.2f} % (spread "
    )
    assert (
        second
        == f"test, of the epoch that was kept: 90.00 %, the authors after as many epochs {100 * run.test[best]:.2f} %"
    )
    augmented = standing("B-MNIST-PLIF-tau2-max-T8", 0.9, test_accuracy=0.95)
    assert augmented.verdict == "unlike" and "test, of the epoch" in augmented.lines()[-1]
    assert "validation" not in standing(FASHION, 0.9).lines()[0] and standing(FASHION, 0.9).test is None


def test_other_samples_weights_and_variations_are_other_conditions() -> None:
    """Of 1,176 recordings of gestures 936 spread over them are not those of 78 of the 98 files."""
    authors = "A-DVS128Gesture-PLIF-tau2-max-T20-n5-number"
    their_samples = {"dataset_options": {"train": "authors-936"}, "test_samples": 288}
    assert standing(authors, 0.9, **their_samples).differences == []
    spread_over = standing(authors, 0.9, limit_train=936, test_samples=288)
    assert spread_over.differences == ["selection: 936 spread over the training split, not train=authors-936"]
    everything = {**their_samples, "limit_train": 1000, "dataset_options": {"train": "authors-936", "order": "sj"}}
    assert (
        standing(authors, 0.9, **everything).differences == []
    )  # 1,000 cut nothing, and an order takes no other samples
    for one, other in (
        ({"from": "m.pt", "from_sha256": "a" * 64}, {"from": "m.pt", "from_sha256": "b" * 64}),
        ({"recipe": Recipe(vary=("mirror:0.5",)).to_dict()}, {"recipe": Recipe(vary=("noise:0.5",)).to_dict()}),
    ):
        pair = [{**card(), "training": {**card()["training"], **more}} for more in (one, other)]
        assert len(read_conditions(pair[0]).differences(read_conditions(pair[1]))) == 1


def test_processes_that_joined_on_the_way_are_seen_in_the_log() -> None:
    rows = [
        {"epoch": "1", "lr": "1e-3", "processes": "1"},
        {"epoch": "2", "lr": str(Recipe(t_max=64).lr_at(1)), "processes": ""},
    ]
    assert read_conditions(card(), rows) == read_conditions(card())
    rows[1]["processes"] = "2"
    assert read_conditions(card(), rows).processes == 2


def test_of_unlike_runs_only_the_differences_are_told_and_of_bf16_that_it_is() -> None:
    unlike = standing(FASHION, 0.9167, **{"from": "x.pt"})
    assert unlike.lines() == ["epoch 5: 91.67 %: not compared: unlike runs", "differs in start: x.pt, not none"]
    assert unlike.verdict == "unlike" and (unlike.authors, unlike.low, unlike.high, unlike.taus) == (None,) * 4
    assert (
        "epoch 5: 91.67 % in bf16, the authors 91.67 % in fp32"
        in standing(FASHION, 0.9167, precision="bf16").lines()[0]
    )
    assert "fp32" not in standing(FASHION, 0.9167).lines()[0]


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"lr": "fast"}, "m.pt: lr 'fast': expected a number above 0"),
        ({"dataset": ["x"]}, "expected text"),
        ({"train_samples": 1.5}, "expected a whole number"),
        ({"test_accuracy": 91.0}, "test_accuracy in the training record is '91.0'; expected a number from 0 to 1"),
    ],
)
def test_a_record_with_values_of_another_kind_is_refused(changed: dict[str, Any], message: str) -> None:
    found = card()
    found["training"] = {**TRAINING, **changed}
    with pytest.raises(PlifError, match=message):
        read_conditions(found, (), "m.pt")


def test_options_that_are_none_and_exported_networks_are_refused() -> None:
    found = card()
    for options, message in (({"strange": 1}, "strange"), ({"init_tau": "two"}, "expected a number above 1")):
        with pytest.raises(PlifError, match=f"m.pt: option.*{message}"):
            read_conditions({**found, "options": options}, (), "m.pt")
    artifact = {key: value for key, value in found.items() if key not in ("options", "training")}
    with pytest.raises(PlifError, match=r"m\.onnx: an exported network"):
        read_conditions(artifact, (), "m.onnx")
