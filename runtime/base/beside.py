"""Work that leaves the interpreter free, such as hashing, beside other work of the same thread."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

Found = TypeVar("Found")


def beside(work: Callable[[], Found], meanwhile: Callable[[], object]) -> Found:
    """What `work` gives, in a thread of its own, while `meanwhile` runs in this one. What either raises is raised here, once
    both have ended; `work` first."""
    found: list[Found] = []
    raised: list[BaseException] = []

    def run() -> None:
        try:
            found.append(work())
        except BaseException as error:  # for the thread that waits
            raised.append(error)

    thread = threading.Thread(target=run, name="plif beside")
    thread.start()
    try:
        meanwhile()
    finally:
        thread.join()
        if raised:
            raise raised[0]
    return found[0]
