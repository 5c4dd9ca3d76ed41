"""`--junit FILE`: write the gates of a command as test cases in JUnit XML, which CI services show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from runtime.core.base.errors import Gate, PlifError
from runtime.core.base.files import atomic_write, check_replaceable
from runtime.core.base.options import OptionRecord, option
from runtime.core.base.text import printable


class JUnitOptions(OptionRecord):
    """The command-line option that names a JUnit XML file for the results of pass-or-fail limits (gates)."""

    junit: Path | None = option("Also each gate as a test case, in JUnit XML.", default=None, metavar="FILE")


def hear(suite: str, junit: Path) -> list[Callable[[Sequence[Gate]], None]]:
    """Return a function that writes the pass-or-fail limits (gates) of a command, `suite`, to a JUnit XML file.

    Raises PlifError if the file `junit` cannot be written.
    """
    check_replaceable(junit)
    if not junit.absolute().parent.is_dir():
        raise PlifError(f"{junit}: its folder does not exist; create it, or choose another path")
    return [partial(write_junit, junit, suite)]


def write_junit(path: Path, suite: str, gates: Sequence[Gate]) -> None:
    """Write pass-or-fail limits (gates) as JUnit XML: one suite, with a test case for each gate."""
    from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

    top = Element("testsuites")
    failed, skipped = (sum(bool(text) for text in texts) for texts in zip(*(gate[1:] for gate in gates), strict=True))
    counts = {"tests": len(gates), "failures": failed, "errors": 0, "skipped": skipped}
    cases = SubElement(
        top, "testsuite", {"name": printable(suite)} | {name: str(count) for name, count in counts.items()}
    )
    for gate in gates:
        case = SubElement(cases, "testcase", classname=printable(suite), name=printable(gate.name))
        for kind, texts in (("failure", gate.failed), ("skipped", gate.skipped)):
            if texts is not None:
                SubElement(case, kind, message=printable(texts)).text = printable(
                    texts
                )  # some show the one, some the other
    indent(top)
    with atomic_write(path) as (part,):
        ElementTree(top).write(part, encoding="utf-8", xml_declaration=True)
