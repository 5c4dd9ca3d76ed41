"""docs/results.md: the authors' numbers are those of their logs, and what is said of the differences follows from the tables."""

from __future__ import annotations

import re

from plif_train.commands.paper_rows.logs import load_authors_runs
from tests.conftest import REPOSITORY

PAGE = (REPOSITORY / "docs" / "results.md").read_text()
ABLATION = {
    "PLIF, 2, average pooling": "PLIF-tau2-avg", "PLIF, 2": "PLIF-tau2-max", "LIF, 2": "LIF-tau2-max",
    "PLIF, 16": "PLIF-tau16-max", "LIF, 16": "LIF-tau16-max",
}  # fmt: skip
Pairs = list[tuple[float, float]]  # ours and the authors', in points, an epoch each


def _numbers(text: str) -> list[float]:
    return [float(number) * 100 for number in re.findall(r"(?<!\d)\.\d{4}", text)]


def _table(log: str, ours: list[float], theirs: list[float]) -> Pairs:
    run = load_authors_runs()[log]
    logged = [100 * run.by_epoch(run.judged)[epoch] for epoch in range(1, len(theirs) + 1)]
    assert [f"{a:.2f}" for a in theirs] == [f"{a:.2f}" for a in logged], log
    return list(zip(ours, theirs, strict=True))


def _ablation() -> dict[str, Pairs]:
    found = {}
    for name, log in ABLATION.items():
        (row,) = re.findall(rf"^\| {name} \|(.*\(.*)$", PAGE, re.M)
        both = _numbers(row)
        found[name] = _table(f"A-FashionMNIST-{log}-T8", both[::2], both[1::2])
    return found


def _others() -> list[Pairs]:
    found = []
    for name, log in (("Fashion-MNIST", "A-FashionMNIST"), ("MNIST", "A-MNIST")):
        ((theirs, ours),) = re.findall(rf"^\| {name} \| 1-\d \|(.*)\|(.*)\|$", PAGE, re.M)
        found.append(_table(f"{log}-PLIF-tau2-max-T8", _numbers(ours), _numbers(theirs)))
    both = _numbers(PAGE.split("## Protocol B")[1].split("The epoch that was kept")[0])
    return [*found, _table("B-FashionMNIST-PLIF-tau2-max-T8", both[::2], both[1::2])]


def _range(pairs: Pairs) -> str:
    """ ".04 to .30" """
    lower = [a - b for a, b in pairs]
    low, high = sorted((abs(min(lower)), abs(max(lower))))
    return " to ".join(f"{value:.2f}".removeprefix("0") for value in (low, high))


def test_what_is_said_of_the_differences_to_the_authors_follows_from_the_tables() -> None:
    five = _ablation()
    every = [*five.values(), *_others()]
    text = " ".join(PAGE.split())
    first = [pairs[0] for pairs in every]
    assert len(first) == 8 and all(a < b for a, b in first)
    mean = f"{sum(b - a for a, b in first) / 8:.3f}".removeprefix("0")
    assert (
        f"All eight first epochs of this page are below the authors', by {_range(first)} points, {mean} on average"
        in text
    )
    fifth, fourth = ([pairs[epoch - 1] for pairs in five.values()] for epoch in (5, 4))
    assert (
        all(a < b for a, b in fifth)
        and f"All five fifth epochs are below the authors', by {_range(fifth)} points" in text
    )
    assert all(a > b for a, b in fourth) and f"all five fourth ones above, by {_range(fourth)}" in text
    later = [pair for pairs in every for pair in pairs[1:]]
    below, above = sum(a < b for a, b in later), sum(a > b for a, b in later)
    assert f"Of the {len(later)} later ones {below} are below and {above} above" in text


def test_the_epochs_with_the_authors_order_are_named() -> None:
    five = _ablation()
    same = []
    for epoch in range(5):
        ours, theirs = (sorted(five, key=lambda name: -five[name][epoch][side]) for side in (0, 1))
        same += [epoch + 1] * (ours == theirs)
    assert same == [2, 5]
    assert "The five variants are in the authors' order after epochs 2 and 5; after 1, 3 and 4" in " ".join(
        PAGE.split()
    )
