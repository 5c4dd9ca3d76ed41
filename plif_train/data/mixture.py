"""`plif train --data A --data B --mix 0.7,0.3 --vary ...`: several sets of recordings, trained on together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from plif_train.data.samples import EventSamples, Mixture, load_events
from plif_train.data.sets import spread
from plif_train.data.windows import parse_variation
from plif_train.network.losses import BY_STEP
from plif_train.network.network import Network
from plif_train.recipe import Recipe, changed
from runtime.base.errors import PlifError
from runtime.data import Dataset, open_dataset
from runtime.events.framing import Framing, framing_of


@dataclass(frozen=True)
class Ingredient:
    """One set of a mixture: NAME:DIR, its share of an epoch, and how its recordings are varied (variation, windows)."""

    data: str
    share: float
    vary: str


def parts_of(data: Sequence[str], recipe: Recipe) -> list[Ingredient]:
    """The parts that a recipe asks for; none where there is one set, not varied. PlifError for numbers that do not fit."""
    shares, vary = recipe.mix, recipe.vary
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


def check_parts(parts: list[Ingredient], recipe: Recipe) -> None:
    """PlifError when a recipe cannot train on windows of events, whose steps have labels of their own."""
    if parts and recipe.loss not in BY_STEP:
        raise PlifError(
            f"--mix and --vary give each step a label, which loss {recipe.loss} does not take: use --set "
            f"loss={' or '.join(BY_STEP)}"
        )
    if parts and recipe.protocol == "B":
        raise PlifError("--mix and --vary: protocol B holds back samples, which windows of events are not; use A or C")


def fixed_length(net: Network) -> Framing:
    """The network's framing with exactly T frames, for the test."""
    framing = seen_framing(net) or Framing.parse("count:T=1")
    return replace(framing, T=net.T) if framing.kind == "duration" else framing


def seen_framing(net: Network) -> Framing | None:
    """The network's framing in the view that it learns, which its card will ask for."""
    return framing_of({"framing": net.framing, "view": net.meta.view})


def open_part(part: Ingredient, net: Network) -> Dataset:
    """The training split of a part, of the network's classes."""
    return open_dataset(part.data, "train", framing=seen_framing(net), shape=net.meta.shape, classes=net.classes)


def labels_of(parts: list[Ingredient], net: Network, limit: int | None) -> list[int]:
    """The classes of the samples that load_mixture reads, without reading them."""
    opened = [open_part(part, net) for part in parts]
    return [one.label(i) for one in opened for i in spread(one, limit)]


def load_mixture(parts: list[Ingredient], net: Network, limit: int | None, quiet: bool) -> Mixture:
    """Reads the training split of every part into memory; `limit`: samples of each."""
    sets: list[EventSamples] = []
    for part in parts:
        dataset = open_part(part, net)
        sets.append(load_events(dataset, parse_variation(part.vary), net.T, limit, f"reading {part.data}", quiet))
    return Mixture(sets, [part.share for part in parts])
