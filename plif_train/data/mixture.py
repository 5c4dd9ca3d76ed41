"""`plif train --data A --data B --mix 0.7,0.3 --vary ...`: several sets of recordings, trained on together."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from plif_train.data.samples import EventSamples, Mixture, load_events
from plif_train.data.sets import spread
from plif_train.data.windows import parse_variation
from plif_train.network.network import Network
from runtime.base.errors import PlifError
from runtime.base.grammar import number, read_list
from runtime.data import Dataset, open_dataset
from runtime.events.framing import Framing, framing_of


@dataclass(frozen=True)
class Part:
    """One set of a mixture: NAME:DIR, its share of an epoch, and how its recordings are varied (variation, windows)."""

    data: str
    share: float
    vary: str

    def to_dict(self) -> dict[str, Any]:
        """For the card, without the folders of this machine."""
        return {"data": self.data.partition(":")[0], "share": self.share, "vary": self.vary}


def parse_mix(text: str | None) -> list[float] | None:
    """`0.7,0.3` -> [0.7, 0.3]."""
    return None if text is None else list(read_list("--mix", text, number(0), example="--mix 0.5,0.5"))


def parts_of(data: Sequence[str], mix: Sequence[float] | None, vary: Sequence[str]) -> list[Part]:
    """The parts that options ask for; none where there is one set, not varied. PlifError for numbers that do not fit."""
    if len(data) == 1 and mix is None and not vary:
        return []
    shares = [1.0] * len(data) if mix is None else list(mix)
    if len(shares) != len(data) or any(not 0 < share < 1e6 for share in shares):
        raise _no_shares(",".join(f"{share:g}" for share in shares))
    if len(vary) not in (0, 1, len(data)):
        raise PlifError(f"--vary: {len(vary)} of them for {len(data)} --data; expected one for all, or one each")
    texts = list(vary) or [""]
    each = texts * len(data) if len(texts) == 1 else texts
    for text in each:
        parse_variation(text)
    return [Part(*one) for one in zip(data, shares, each, strict=True)]


def _no_shares(found: str | None) -> PlifError:
    return PlifError(f"--mix {found}: expected a positive number for each --data, as in --mix 0.5,0.5")


def check_parts(parts: list[Part], loss: str, protocol: str) -> None:
    """PlifError when a recipe cannot train on windows of events, whose steps have labels of their own."""
    if parts and loss != "step-mse":
        raise PlifError(
            f"--mix and --vary give each step a label, which loss {loss} does not take: use --loss step-mse"
        )
    if parts and protocol == "B":
        raise PlifError("--mix and --vary: protocol B holds back samples, which windows of events are not; use A or C")


def fixed_length(net: Network) -> Framing:
    """The network's framing with exactly T frames, for the test."""
    framing = seen_framing(net) or Framing.parse("count:T=1")
    return replace(framing, T=net.T) if framing.kind == "duration" else framing


def seen_framing(net: Network) -> Framing | None:
    """The network's framing in the view that it learns, which its card will ask for."""
    return framing_of({"framing": net.framing, "view": net.meta.view})


def open_part(part: Part, net: Network) -> Dataset:
    """The training split of a part, of the network's classes."""
    return open_dataset(part.data, "train", framing=seen_framing(net), shape=net.meta.shape, classes=net.classes)


def labels_of(parts: list[Part], net: Network, limit: int | None) -> list[int]:
    """The classes of the samples that load_mixture reads, without reading them."""
    opened = [open_part(part, net) for part in parts]
    return [one.label(i) for one in opened for i in spread(one, limit)]


def load_mixture(parts: list[Part], net: Network, limit: int | None, quiet: bool) -> Mixture:
    """Reads the training split of every part into memory; `limit`: samples of each."""
    sets: list[EventSamples] = []
    for part in parts:
        dataset = open_part(part, net)
        sets.append(load_events(dataset, parse_variation(part.vary), net.T, limit, f"reading {part.data}", quiet))
    return Mixture(sets, [part.share for part in parts])
