"""Mixtures of data sets for training: `plif train --data A --data B --mix 0.7,0.3 --vary ...`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from plif_train.core.data.sets import spread_indices
from plif_train.core.loop.hooks import TrainingData, oriented_framing
from plif_train.core.network.losses import BY_STEP
from plif_train.core.network.network import Network
from plif_train.core.recipe import Recipe, replace_keys
from plif_train.hooks.mixed_windows.samples import EventSamples, Mixture, load_events
from plif_train.hooks.mixed_windows.windows import parse_variation
from runtime.core.base.errors import PlifError
from runtime.core.data import Dataset, open_dataset
from runtime.core.events.fit import EventOutcome
from runtime.core.events.framing import Framing

MEASURED_WINDOWS = 512  # windows for the statistics: enough for the rare kinds; the data are in memory


@dataclass(frozen=True)
class Ingredient:
    """One data set in a mixture: NAME:DIR, its share of an epoch, and the random variation of its recordings."""

    data: str
    share: float
    vary: str


def parse_mixture(data: Sequence[str], recipe: Recipe) -> list[Ingredient]:
    """Return the data sets that a recipe mixes for training, with their shares and random variations.

    The list is empty for one set that is not varied. Raises PlifError if the numbers of shares or variations do not
    fit.
    """
    shares, vary = vars(recipe)["mix"], vars(recipe)["vary"]
    if len(data) == 1 and not shares and not vary:
        return []
    if shares and len(shares) != len(data):
        shares_text = ",".join(f"{share:g}" for share in shares)
        raise PlifError(f"--mix {shares_text}: expected a number above 0 for each --data, as in --mix 0.5,0.5")
    if len(vary) not in (0, 1, len(data)):
        raise PlifError(f"--vary: {len(vary)} of them for {len(data)} --data; expected one for all, or one each")
    texts = vary or ("",)
    for text in texts:
        parse_variation(text)
    variations = texts * len(data) if len(texts) == 1 else texts
    return [Ingredient(*columns) for columns in zip(data, shares or (1.0,) * len(data), variations, strict=True)]


def make_explicit(recipe: Recipe) -> Recipe:
    """Return a recipe in which the share and the random variation of each mixed data set are written out.

    With one set that is not varied it has none of them.
    """
    parts = parse_mixture(recipe.data or ("",), recipe)
    columns = zip(*((part.data, part.share, part.vary) for part in parts), strict=True) if parts else ((), (), ())
    return replace_keys(recipe, dict(zip(("data", "mix", "vary"), columns, strict=True)))


def create_training_data(data: Sequence[str], recipe: Recipe) -> MixedWindows | None:
    """Create the training data of a recipe's mixture of data sets; None for one set that is not varied."""
    parts = parse_mixture(data, recipe)
    return MixedWindows(parts) if parts else None


@dataclass(frozen=True)
class MixedWindows(TrainingData):
    """Training data made of time windows cut from the recordings of several data sets."""

    parts: list[Ingredient]

    def check(self, recipe: Recipe) -> None:
        if recipe.loss not in BY_STEP:
            raise PlifError(
                f"--mix and --vary give each step a label, which loss {recipe.loss} does not take: use --set "
                f"loss={' or '.join(BY_STEP)}"
            )
        if recipe.protocol == "B":
            raise PlifError(
                "--mix and --vary: protocol B holds back samples, which windows of events are not; use A or C"
            )

    def framing(self, net: Network) -> Framing:
        framing = oriented_framing(net) or Framing.parse("count:T=1")
        return replace(framing, T=net.T) if framing.kind == "duration" else framing

    def labels(self, net: Network, limit: int | None) -> list[int]:
        datasets = [_open_part(part, net) for part in self.parts]
        return [dataset.label(i) for dataset in datasets for i in spread_indices(dataset, limit)]

    def load(self, net: Network, limit: int | None, quiet: bool) -> tuple[Mixture, list[EventOutcome]]:
        sets: list[EventSamples] = []
        for part in self.parts:
            dataset, title = _open_part(part, net), f"reading {part.data}"
            sets.append(load_events(dataset, parse_variation(part.vary), net.T, limit, title, quiet))
        mixture = Mixture(sets, [part.share for part in self.parts])
        return mixture, mixture.measure_windows(MEASURED_WINDOWS)


def _open_part(part: Ingredient, net: Network) -> Dataset:
    """Open the training split of one data set of a mixture, with classes numbered as in the network."""
    return open_dataset(part.data, "train", framing=oriented_framing(net), shape=net.meta.shape, classes=net.classes)
