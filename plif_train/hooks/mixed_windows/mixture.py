"""`plif train --data A --data B --mix 0.7,0.3 --vary ...`: several sets of recordings, trained on together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from plif_train.core.data.sets import spread
from plif_train.core.loop.hooks import TrainingData, seen_framing
from plif_train.core.network.losses import BY_STEP
from plif_train.core.network.network import Network
from plif_train.core.recipe import Recipe, changed
from plif_train.hooks.mixed_windows.samples import EventSamples, Mixture, load_events
from plif_train.hooks.mixed_windows.windows import parse_variation
from runtime.core.base.errors import PlifError
from runtime.core.data import Dataset, open_dataset
from runtime.core.events.fit import Fate
from runtime.core.events.framing import Framing

LOOKS = 512  # windows of a mixture, which lies in memory: the rare kinds, too


@dataclass(frozen=True)
class Ingredient:
    """One set of a mixture: NAME:DIR, its share of an epoch, and how its recordings are varied (variation, windows)."""

    data: str
    share: float
    vary: str


def parts_of(data: Sequence[str], recipe: Recipe) -> list[Ingredient]:
    """The parts that a recipe asks for; none where there is one set, not varied. PlifError for numbers that do not fit."""
    shares, vary = vars(recipe)["mix"], vars(recipe)["vary"]
    if len(data) == 1 and not shares and not vary:
        return []
    if shares and len(shares) != len(data):
        found = ",".join(f"{share:g}" for share in shares)
        raise PlifError(f"--mix {found}: expected a number above 0 for each --data, as in --mix 0.5,0.5")
    if len(vary) not in (0, 1, len(data)):
        raise PlifError(f"--vary: {len(vary)} of them for {len(data)} --data; expected one for all, or one each")
    texts = vary or ("",)
    for text in texts:
        parse_variation(text)
    each = texts * len(data) if len(texts) == 1 else texts
    return [Ingredient(*one) for one in zip(data, shares or (1.0,) * len(data), each, strict=True)]


def explicit(recipe: Recipe) -> Recipe:
    """The recipe with a share and a variation for each of its sets; with none of them where there is one set, not varied."""
    parts = parts_of(recipe.data or ("",), recipe)
    columns = zip(*((part.data, part.share, part.vary) for part in parts), strict=True) if parts else ((), (), ())
    return changed(recipe, dict(zip(("data", "mix", "vary"), columns, strict=True)))


def of(data: Sequence[str], recipe: Recipe) -> MixedWindows | None:
    """What a recipe asks for; None where there is one set, not varied."""
    parts = parts_of(data, recipe)
    return MixedWindows(parts) if parts else None


@dataclass(frozen=True)
class MixedWindows(TrainingData):
    """Windows of the recordings of these sets."""

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
        framing = seen_framing(net) or Framing.parse("count:T=1")
        return replace(framing, T=net.T) if framing.kind == "duration" else framing

    def labels(self, net: Network, limit: int | None) -> list[int]:
        opened = [_open_part(part, net) for part in self.parts]
        return [one.label(i) for one in opened for i in spread(one, limit)]

    def load(self, net: Network, limit: int | None, quiet: bool) -> tuple[Mixture, list[Fate]]:
        sets: list[EventSamples] = []
        for part in self.parts:
            dataset, what = _open_part(part, net), f"reading {part.data}"
            sets.append(load_events(dataset, parse_variation(part.vary), net.T, limit, what, quiet))
        mixture = Mixture(sets, [part.share for part in self.parts])
        return mixture, mixture.looks(LOOKS)


def _open_part(part: Ingredient, net: Network) -> Dataset:
    """The training split of a part, of the network's classes."""
    return open_dataset(part.data, "train", framing=seen_framing(net), shape=net.meta.shape, classes=net.classes)
