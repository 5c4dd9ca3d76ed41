"""`--junit FILE`: the gates of a command as test cases, in the XML of JUnit, which CI services show."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from runtime.core.base.errors import Gate, PlifError
from runtime.core.base.files import check_replaceable, whole_or_nothing
from runtime.core.base.options import OptionRecord, option
from runtime.core.base.text import printable


class JUnitOptions(OptionRecord):
    """Who hears of the gates."""

    junit: Path | None = option("Also each gate as a test case, in JUnit XML.", default=None, metavar="FILE")


def hear(suite: str, junit: Path) -> list[Callable[[Sequence[Gate]], None]]:
    """Who writes the gates of a command line, `suite`, when it ends. Raises PlifError where `junit` cannot be written."""
    check_replaceable(junit)
    if not junit.absolute().parent.is_dir():
        raise PlifError(f"{junit}: its folder does not exist")
    return [partial(write, junit, suite)]


def write(path: Path, suite: str, gates: Sequence[Gate]) -> None:
    """One suite, with a test case for each gate."""
    from xml.etree.ElementTree import Element, ElementTree, SubElement, indent

    top = Element("testsuites")
    failed, skipped = (sum(bool(each) for each in said) for said in zip(*(gate[1:] for gate in gates), strict=True))
    counts = {"tests": len(gates), "failures": failed, "errors": 0, "skipped": skipped}
    cases = SubElement(
        top, "testsuite", {"name": printable(suite)} | {name: str(count) for name, count in counts.items()}
    )
    for gate in gates:
        case = SubElement(cases, "testcase", classname=printable(suite), name=printable(gate.name))
        for kind, said in (("failure", gate.failed), ("skipped", gate.skipped)):
            if said is not None:
                SubElement(case, kind, message=printable(said)).text = printable(
                    said
                )  # some show the one, some the other
    indent(top)
    with whole_or_nothing(path) as (part,):
        ElementTree(top).write(part, encoding="utf-8", xml_declaration=True)
