"""`--junit FILE`: the gates of a command as test cases, in the XML of JUnit, which CI services show."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from runtime.base.errors import Gate, PlifError
from runtime.base.files import check_replaceable, whole_or_nothing
from runtime.base.options import OptionRecord, option
from runtime.base.text import printable


class GateOptions(OptionRecord):
    """Who else hears of the gates."""

    junit: Path | None = option("Also each gate as a test case, in JUnit XML.", default=None, metavar="FILE")

    @contextmanager
    def told(self, command: str, file: Path) -> Iterator[list[Gate]]:
        """The gates of `plif COMMAND FILE`, to be filled in. Where the command ends with an error, and none of them failed, the
        error is one."""
        gates: list[Gate] = []
        if self.junit is not None:
            check_replaceable(self.junit)
            if not self.junit.absolute().parent.is_dir():
                raise PlifError(f"{self.junit}: its folder does not exist")
        try:
            yield gates
        except PlifError as error:
            if not any(gate.failed for gate in gates):
                gates.append(Gate(f"plif {command}", str(error)))
            raise
        finally:
            if self.junit is not None and gates:
                write(self.junit, f"plif {command} {file}", gates)


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
