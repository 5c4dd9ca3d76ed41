"""The digest: what binds a card, the weights and the graph of one artifact to each other.

    card["digest"] = {"sha256": of all parts, "parts": {"card": ..., "graph": ..., "tensor conv1.weight": ..., ...}}

    part "card"   the SHA-256 of the card as JSON text, without the digest itself
    other parts   what is beside the card, as the reader of its kind finds it (`contents` of a Kind,
                  runtime/core/model/artifacts.py)
    sha256        of the parts as JSON text: one number for "these weights, this graph and this meaning"

Whoever writes a card calls `seal` last. `runtime.load` calls `require_unchanged`, `plif verify` asks `changes`. It finds
accidents: a flipped bit, a card that was edited, a file that was put together from two. Somebody who forges a file
writes the digest that fits; against that, compare a SHA-256 or a signature that came another way (docs/trust.md).

Work that leaves the interpreter free, such as hashing, beside other work of the same thread.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.model.artifacts import kind_of
from runtime.core.model.card import Card, encode

if TYPE_CHECKING:
    from runtime.core.model.readers.contents import Contents


from typing import TypeVar

KEY = "digest"


def seal(card: Card, contents: Contents) -> None:
    """Writes the digest of a card and of what is beside it into the card."""
    parts = {"card": _meaning(card), **contents.parts}
    card[KEY] = {"sha256": _sha256(parts), "parts": parts}


def digest_of(card: Card) -> str | None:
    """The SHA-256 of all parts, as the card says it; None where it says none."""
    found = card.get(KEY)
    sha256 = found.get("sha256") if isinstance(found, dict) else None
    return sha256 if isinstance(sha256, str) else None


def changes(card: Card, contents: Contents) -> list[str] | None:
    """The parts that are not as the digest in the card says; None where the card has no digest."""
    now = {"card": _meaning(card), **contents.parts}
    found = card.get(KEY)
    if found is None:
        return None
    parts = found.get("parts") if isinstance(found, dict) else None
    if not isinstance(parts, dict) or set(found) != {"sha256", "parts"} or digest_of(card) != _sha256(parts):
        return [KEY]
    return [name for name in {**parts, **now} if parts.get(name) != now.get(name)]


def require_unchanged(path: Path, card: Card, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Refuses an artifact with a part that is not as it was exported, or with numbers that are not finite.

    One without a digest, of another exporter, is opened with a warning. `meanwhile` is called while the file is read and
    hashed, in a thread of its own: with a second processor, what it does costs nothing.
    """
    kind = kind_of(path)
    if kind.contents is None:
        return
    contents = beside(lambda: kind.read_contents(path), meanwhile)
    changed = changes(card, contents)
    if changed:
        raise PlifError(f"{path}: {sentence(changed)}; export it again, or see what it does now: plif verify")
    if changed is None:
        note = "its card has no digest, so nobody would see whether it was changed since it was exported"
        warnings.warn(f"{path}: {note}; export it again for one", PlifWarning, stacklevel=3)
    require_finite(contents.not_finite, str(path))


def part_layer(part: str, card: Card) -> str:
    """The layer that a part is of; the part itself where it is of none."""
    node = part.removeprefix("tensor ").rpartition(".")[0]
    for record in card["graph"]["nodes"]:
        if isinstance(record, dict) and record.get("name") == node:
            attrs = record.get("attrs")
            return str(attrs.get("layer", node) if isinstance(attrs, dict) else node)
    return part


def require_finite(found: str | None, where: str) -> None:
    """Refuses what `not_finite` found: each engine would make something else of it."""
    if found is not None:
        raise PlifError(f"{where}: {found}; expected finite numbers. Did its training diverge?")


def sentence(changed: list[str]) -> str:
    """Of parts that were changed, in words."""
    more = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    were = "was" if len(changed) == 1 else "were"
    return f"{', '.join(changed[:3])}{more} {were} changed since the export (its digest says so)"


def _meaning(card: Mapping[str, object]) -> str:
    return _sha256({key: value for key, value in card.items() if key != KEY})


def _sha256(value: Mapping[str, object]) -> str:
    import hashlib  # with OpenSSL: not to show a card

    return hashlib.sha256(encode(value).encode("utf-8", "surrogatepass")).hexdigest()


Found = TypeVar("Found")


def beside(work: Callable[[], Found], meanwhile: Callable[[], object]) -> Found:
    """What `work` gives, in a thread of its own, while `meanwhile` runs in this one: hashing leaves the interpreter free. What
    either raises is raised here, once both have ended; `work` first."""
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, "plif beside") as pool:
        found = pool.submit(work)
        try:
            meanwhile()
        finally:
            found.result()
    return found.result()
