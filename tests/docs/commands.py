"""The commands that the README and docs/ show, line by line; and whether the real command line takes one."""

from __future__ import annotations

import re
import shlex
from pathlib import Path
from typing import NamedTuple

import typer

from runtime.core.cli.main import UsageError, app
from tests.conftest import REPOSITORY

PAGES = (
    *(REPOSITORY / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "models/README.md")),
    *sorted((REPOSITORY / "docs").glob("*.md")),
    *sorted((REPOSITORY / "docs" / "contracts").glob("*.md")),
)
HOW_TO = ("You have a network", "You have a camera", "You have other hardware", "You accept or test it")  # of the menu
FENCE = re.compile(r"^[ \t]*```(\w*)\n(.*?)^[ \t]*```", re.DOTALL | re.MULTILINE)
INLINE = re.compile(r"`((?:(?:\.venv/bin/)?plif|python|make) [^`]*)`")


def menu_pages(group: str) -> list[str]:
    """The pages that a group of the site's menu has, as mkdocs.yml names them."""
    menu = (REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8")
    return re.findall(r"[\w/-]+\.md", menu.partition(f"  - {group}:\n")[2].partition("\n  - ")[0])


class Line(NamedTuple):
    page: str  # README.md, docs/live.md, ...
    programs: list[list[str]]  # a && b, a | b, a; b: the words of each, without quotes; no comment

    @property
    def text(self) -> str:
        return " && ".join(" ".join(words) for words in self.programs)


def shell_lines(page: Path) -> list[Line]:
    """The lines of a page's shell blocks, and lines after a prompt `$ ` in blocks of output, in order."""
    lines = []
    for language, body in FENCE.findall(page.read_text()):
        for text in body.replace("\\\n", " ").splitlines():
            if language in ("sh", "bash", "console"):
                lines.append(_line(page, text))
            elif language == "" and text.startswith("$ "):
                lines.append(_line(page, text[2:]))
    return [line for line in lines if line.programs]


def inline_lines(page: Path) -> list[Line]:
    """Commands within a sentence or a table, `plif ...`, `python ...`, `make ...`; some are only the beginning of one."""
    return [_line(page, text.replace("\n", " ")) for text in INLINE.findall(FENCE.sub("", page.read_text()))]


def _line(page: Path, text: str) -> Line:
    lexer = shlex.shlex(text, posix=True, punctuation_chars=";|&")
    lexer.whitespace_split = True
    programs: list[list[str]] = [[]]
    for word in lexer:
        if set(word) <= set(";|&"):
            programs.append([])
        else:
            programs[-1].append("plif" if word == ".venv/bin/plif" else word)
    return Line(page.relative_to(REPOSITORY).as_posix(), [words for words in programs if words])


def refusal(words: list[str], whole: bool = True) -> str | None:
    """Why a documented program could not run as written: an option, value, argument, script or target that is not there.

    Not `whole`: what stands in a sentence may leave out arguments, and end with the name of an option.
    """
    if words[0] == "plif":
        return _plif(words[1:], whole)
    if words[0] == "make" and "-C" not in words:
        targets = re.findall(r"^([a-z-]+):", (REPOSITORY / "Makefile").read_text(), re.MULTILINE)
        lost = [word for word in words[1:] if "=" not in word and word not in targets]
        return f"the Makefile has no {lost}" if lost else None
    if words[0] == "python" and words[1] != "-c":
        return _python(words[1:])
    return None


def _plif(words: list[str], whole: bool) -> str | None:
    """What the real command says when it parses and converts the words, without being run."""
    if not words or words[0].startswith("--"):
        names = {"--help", *(name for option in app.params for name in option.opts)}
        return None if not whole or {*words[:1]} & names else f"plif alone does nothing, and has no {words[:1]}"
    try:
        _, command, words = app.resolve_command(typer.Context(app), words)
    except UsageError as error:
        return str(error)
    if not whole and words and words[-1].startswith("--"):
        names = {"--help", *(name for option in command.params for name in option.opts + option.secondary_opts)}
        return None if words[-1] in names else f"plif {command.name} has no {words[-1]}"
    try:
        command.make_context(command.name, [word for word in words if word != "..."])
    except Exception as error:  # of click in older Typer, of Typer itself in newer ones
        if not whole and type(error).__name__ == "MissingParameter":
            return None
        return f"{type(error).__name__}: {getattr(error, 'message', error)}"
    return None


def _python(words: list[str]) -> str | None:
    """A script or module that exists, whose options stand in its text (or in that of its own helpers)."""
    if words[0] == "-m":
        if words[1] in ("pytest", "venv", "pip"):
            return None
        place, words = REPOSITORY / words[1].replace(".", "/"), words[1:]
        path = place / "__main__.py" if place.is_dir() else place.with_suffix(".py")
    else:
        path = REPOSITORY / words[0]
    if not path.is_file():
        return f"{words[0]} is not there"
    helpers = [
        path,
        *(path.parent / f"{name}.py" for name in re.findall(r"from (?:bench\.)?(\w+) import", path.read_text())),
    ]
    text = "".join(helper.read_text() for helper in helpers if helper.is_file())
    options = [word.partition("=")[0] for word in words[1:] if word.startswith("--")]
    lost = [
        option for option in options if f'"{option}"' not in text and '"--{' not in text
    ]  # "--{name}": made in a loop
    return f"{words[0]} has no {lost}" if lost else None
