"""The digest: SHA-256 sums that bind a card, the weights and the graph of one artifact to each other.

    card["digest"] = {"sha256": of all parts, "parts": {"card": ..., "graph": ..., "tensor conv1.weight": ..., ...}}

    part "card"   the SHA-256 of the card as JSON text, without the digest itself
    other parts   the data next to the card, as the reader of its kind finds it (`contents` of a Kind,
                  runtime/core/model/artifacts.py)
    sha256        of the parts as JSON text: one number for "these weights, this graph and this meaning"

The writer of a card calls `write_digest` last. `runtime.load` calls `require_unchanged`, `plif verify` calls
`find_changed_parts`. The digest detects accidents: a flipped bit, an edited card, a file that was put together from
two. A forger writes a digest that fits; against that, compare a SHA-256 or a signature from another channel
(docs/trust.md).

This module also runs work that releases the interpreter lock, such as hashing, in parallel with other work.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from runtime.core.base.errors import PlifError, PlifWarning
from runtime.core.model.artifacts import detect_kind
from runtime.core.model.card import Card, encode_card

if TYPE_CHECKING:
    from runtime.core.model.readers.contents import Contents


from typing import TypeVar

KEY = "digest"


def write_digest(card: Card, contents: Contents) -> None:
    """Write the digest of a card and of the artifact's other parts into the card."""
    parts = {"card": _hash_card(card), **contents.parts}
    card[KEY] = {"sha256": _hash_json(parts), "parts": parts}


def read_digest(card: Card) -> str | None:
    """Return the SHA-256 over all parts of an artifact, read from its card; None if the card has no digest."""
    digest = card.get(KEY)
    sha256 = digest.get("sha256") if isinstance(digest, dict) else None
    return sha256 if isinstance(sha256, str) else None


def find_changed_parts(card: Card, contents: Contents) -> list[str] | None:
    """Return the parts of an artifact that differ from the digest in its card; None if it has no digest."""
    current = {"card": _hash_card(card), **contents.parts}
    digest = card.get(KEY)
    if digest is None:
        return None
    parts = digest.get("parts") if isinstance(digest, dict) else None
    if not isinstance(parts, dict) or set(digest) != {"sha256", "parts"} or read_digest(card) != _hash_json(parts):
        return [KEY]
    return [name for name in {**parts, **current} if parts.get(name) != current.get(name)]


def require_unchanged(path: Path, card: Card, meanwhile: Callable[[], object] = lambda: None) -> None:
    """Refuse an artifact with a part that changed since the export, or with numbers that are not finite.

    An artifact without a digest, of another exporter, is opened with a warning. `meanwhile` runs while a thread reads
    and hashes the file: with a second processor this costs no time.
    """
    kind = detect_kind(path)
    if kind.contents is None:
        return
    contents = run_in_parallel(lambda: kind.read_contents(path), meanwhile)
    changed = find_changed_parts(card, contents)
    if changed:
        raise PlifError(f"{path}: {describe_changes(changed)}; export it again, or see what it does now: plif verify")
    if changed is None:
        note = "its card has no digest, so nobody would see whether it was changed since it was exported"
        warnings.warn(f"{path}: {note}; export it again for one", PlifWarning, stacklevel=3)
    require_finite(contents.not_finite, str(path))


def find_part_layer(part: str, card: Card) -> str:
    """Return the layer that an artifact's hashed part, such as a tensor, belongs to; else the part's name."""
    node = part.removeprefix("tensor ").rpartition(".")[0]
    for record in card["graph"]["nodes"]:
        if isinstance(record, dict) and record.get("name") == node:
            attrs = record.get("attrs")
            return str(attrs.get("layer", node) if isinstance(attrs, dict) else node)
    return part


def require_finite(problem: str | None, context: str) -> None:
    """Refuse an artifact with non-finite numbers, since engines treat them differently.

    problem  the sentence of `not_finite`; None: all numbers are finite
    """
    if problem is not None:
        raise PlifError(f"{context}: {problem}; expected finite numbers. Did its training diverge?")


def describe_changes(changed: list[str]) -> str:
    """Return a sentence that names the changed parts of an artifact, three at most."""
    remainder = f" and {len(changed) - 3} more" if len(changed) > 3 else ""
    were = "was" if len(changed) == 1 else "were"
    return f"{', '.join(changed[:3])}{remainder} {were} changed since the export (its digest says so)"


def _hash_card(card: Mapping[str, object]) -> str:
    return _hash_json({key: value for key, value in card.items() if key != KEY})


def _hash_json(value: Mapping[str, object]) -> str:
    import hashlib  # loads OpenSSL: not needed to show a card

    return hashlib.sha256(encode_card(value).encode("utf-8", "surrogatepass")).hexdigest()


T = TypeVar("T")


def run_in_parallel(work: Callable[[], T], meanwhile: Callable[[], object]) -> T:
    """Run `work` in a thread while `meanwhile` runs in this one, and return the result of `work`.

    Hashing releases the interpreter lock, so both run at once. Exceptions of either are raised here, after both have
    ended; those of `work` first.
    """
    from concurrent.futures import ThreadPoolExecutor

    with ThreadPoolExecutor(1, "plif beside") as pool:
        future = pool.submit(work)
        try:
            meanwhile()
        finally:
            future.result()
    return future.result()
