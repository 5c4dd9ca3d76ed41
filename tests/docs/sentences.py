"""A number that a page says, beside the one that its command gives now."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.conftest import REPOSITORY


def check_numbers(page: str, words: str, now: Sequence[float], command: str, share: float = 0) -> None:
    """Fails where the numbers of a page are not those of now, and says both and the command.

    page   from the repository on
    words  a regular expression with one group for each number
    share  how much a number may differ, as a share of it and three in any case, where processors round differently; 0: not at all
    """
    found = re.search(words, (REPOSITORY / page).read_text())
    assert found is not None, f"{page} has no {words}"
    said = [float(number.replace(",", "")) for number in found.groups()]
    most = [share * number + 3 if share else 0 for number in now]
    assert len(said) == len(now) and all(abs(a - b) <= by for a, b, by in zip(said, now, most, strict=True)), (
        f"{page} says {', '.join(found.groups())}; `{command}` gives {', '.join(f'{number:,g}' for number in now)}: write that"
    )
