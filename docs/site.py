"""Pages of the web site that are generated when it is built.

Commands and Python come from --help and docstrings; the notebook and pages outside docs/ are added. The demo of `make
web` plays on the first page. mkdocs.yml calls `on_...`.
"""

from __future__ import annotations

import base64
import importlib
import inspect
import json
import os
import re
from itertools import count
from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files
from parts_table import page as parts_page
from parts_table import pages_of_removed_parts

from runtime.core.base.errors import PlifError
from runtime.core.cli import main as plif
from runtime.core.parts import find_parts

DOCS = Path(__file__).resolve().parent
BESIDE = ("SECURITY.md", "CONTRIBUTING.md", "models/README.md", "models/*.toml", "models/*.csv")  # what pages link to
LINK = re.compile(r"(?<=\]\()[^)\s#:]+")  # to a file, without its heading
TO_PAGE = re.compile(r"\[([^\]]*)\]\(([^)\s#:]+\.md)[^)\s]*\)")
KINDS = ("readers", "commands", "sources")  # parts that give a package some of its names
PACKAGES = ("plif", "runtime", "plif_export", "plif_train")
# With the network of a camera; it plays once, when it is seen
FRAME = '<iframe class="demo" src="demo.html#gesture" title="Demo: a network decides which gesture it sees"></iframe>'
NAMES = r"[\w, ]*\w {2,}(?=\S)"  # of parameters, and the blanks before what they are
BEGIN = "<!-- the demo plays here -->"  # in README.md


def on_config(config: Any) -> Any:
    """Remove the pages of removed parts from the navigation."""
    config["nav"] = _without(config["nav"], pages_of_removed_parts())
    return config


def _without(pages: list[Any], gone: set[str]) -> list[Any]:
    kept = []
    for entry in pages:
        ((title, named),) = entry.items() if isinstance(entry, dict) else ((None, entry),)
        if isinstance(named, list):
            kept.append({title: _without(named, gone)})
        elif named not in gone:
            kept.append(entry)
    return kept


def on_files(files: Files, config: Any) -> Files:
    pages: dict[str, str | bytes] = {"commands.md": commands(), "api.md": api()}
    pages |= notebook("quickstart", Path(config["docs_dir"], "quickstart.ipynb"))
    if demo(config).exists():
        pages["demo.html"] = demo(config).read_bytes()
    for pattern in BESIDE:
        pages |= {place_of(path): path.read_bytes() for path in DOCS.parent.glob(pattern)}
    for name, content in pages.items():
        files.append(File.generated(config, name, content=content))
    return files


def demo(config: Any) -> Path:
    """Return the page of `make web`, which `make site` needs; another build of the site goes without."""
    return Path(config["config_file_path"]).parent / config["extra"]["demo"]


def on_page_markdown(markdown: str, page: Any, config: Any, **_: Any) -> str:
    """Rewrite links for the site, and add the demo to the first page.

    A link to a file goes to its place in the site, a link to the notebook to its page, a link to a removed part to
    its text.
    """
    name = page.file.src_uri
    markdown = parts_page() if name == "parts.md" else markdown
    source = next((path for path in (DOCS / name, DOCS.parent / name) if path.is_file()), None)
    if source is not None:
        gone = {DOCS / each for each in pages_of_removed_parts()}
        markdown = TO_PAGE.sub(lambda to: to[1] if (source.parent / to[2]).resolve() in gone else to[0], markdown)
        markdown = LINK.sub(lambda link: moved(link[0], source, name), markdown)
    if name != "quickstart.md":
        markdown = markdown.replace("(quickstart.ipynb)", "(quickstart.md)")
    if BEGIN in markdown:
        page.meta["hide"] = ["toc"]
    return markdown.replace(BEGIN, FRAME if demo(config).exists() else "")


def place_of(path: Path) -> str:
    """Where the site has a file of the repository: what lies in docs/ and what lies beside it, in one folder."""
    return path.relative_to(DOCS if path.is_relative_to(DOCS) else DOCS.parent).as_posix()


def moved(link: str, source: Path, name: str) -> str:
    """Return a link to a file, from the page `source` of the repository, for the page `name` of the site."""
    target = (source.parent / link).resolve()
    return os.path.relpath(place_of(target), os.path.dirname(name)) if target.is_file() else link


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Docstrings' lists of parameters are tables."""
    return re.sub(r"<p>((?:(?!</p>).)*)</p>", columns, html, flags=re.DOTALL) if page.file.src_uri == "api.md" else html


def on_post_page(html: str, **_: Any) -> str:
    """Name the theme's dialog for screen readers."""
    return html.replace('role="dialog">', 'role="dialog" aria-label="Search">')


def columns(paragraph: re.Match[str]) -> str:
    """Return a paragraph of a docstring, as a table if it begins with `name   description` lines."""
    lines = paragraph[1].split("\n")
    first = re.match(NAMES, lines[0])
    if first is None:
        return paragraph[0]
    rows, after = list[list[str]](), list[str]()
    for line in lines:
        named = re.match(NAMES, line)
        at = named.end() if named else first.end()  # a long name moves its own text alone
        name, text = line[:at].strip(), line[at:]
        if after or line[at - 1 : at] != " ":
            after.append(line)
        elif name:
            rows.append([name, text])
        else:
            rows[-1][1] += "\n" + text
    made = "".join(f'<tr><th scope="row">{name}</th><td>{text}</td></tr>' for name, text in rows)
    return f'<table class="columns">{made}</table>' + ("<p>" + "\n".join(after) + "</p>" if after else "")


def notebook(name: str, path: Path) -> dict[str, str | bytes]:
    """Return the page of a notebook with its outputs, and its pictures by name."""
    page, files, number = list[str](), dict[str, str | bytes](), count(1)
    for cell in json.loads(path.read_text(encoding="utf-8"))["cells"]:
        source = "".join(cell["source"])
        page.append(source if cell["cell_type"] == "markdown" else f"```python\n{source}\n```")
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if "image/png" in data:
                picture = f"{name}-{next(number)}.png"
                files[picture] = base64.b64decode(data["image/png"])
                page.append(f"![What the cell above draws]({picture})")
            else:
                page.append("```text\n" + "".join(data.get("text/plain", output.get("text", ""))).strip() + "\n```")
    page.append(f"[The notebook]({path.name}), to run it.")
    return {f"{name}.md": "\n\n".join(page), **files}


def commands() -> str:
    """Each command of plif with what `--help` prints."""
    page = [
        "# Commands",
        "Exit codes: 0 done, 1 the check that was asked for failed, 2 bad file or usage, 130 interrupted, "
        "141 who read the output went away (`| head -1`).",
    ]
    for name in plif.list_all_commands():
        command = plif.app.get_command(None, name)
        context = command.context_class(command, info_name=f"plif {name}", terminal_width=80)
        page.append(f"## plif {name}\n\n```\n{command.get_help(context)}\n```")
    return "\n\n".join(page)


def _imported(package: str, name: str, found: Any, level: int = 3) -> str:
    """Return names that mkdocstrings cannot find without an import: those of parts, and of folders without __init__.py."""
    methods = vars(found).items() if inspect.isclass(found) else ()
    own = [(each, one) for each, one in methods if inspect.isfunction(one) and not each.startswith("_") and one.__doc__]
    text = (
        f"{'#' * level} {package}.{name}\n\n```python\n{name}{inspect.signature(found)}\n```\n\n{inspect.getdoc(found)}"
    )
    return "\n\n".join([text, *(_imported(f"{package}.{name}", each, one, level + 1) for each, one in own)])


def api() -> str:
    """Return the page of the public names of each package; mkdocstrings fills in their docstrings."""
    page = [
        "# Python: reference",
        "What others may rely on. [Training, data and networks in Python](python.md) has examples.",
    ]
    for package in PACKAGES:
        module: Any = importlib.import_module(package)
        page.append(f"## {package}")
        parts = [part for kind in KINDS for part in find_parts(kind).values()]
        own = [part for part in parts if part.module.partition(".")[0] == package]
        given = [name for part in own for name in (*part.gives, *(part.names or ()))]
        for name in dict.fromkeys([*module.__all__, *given]):
            try:
                found = getattr(module, name, None)
            except PlifError:  # its part was removed
                continue
            home = getattr(found, "__module__", "")
            if home.partition(".")[0] == package:  # what plif takes from the others stands under theirs
                unread = name in given or importlib.import_module(home.rpartition(".")[0] or home).__file__ is None
                page.append(_imported(package, name, found) if unread else f"::: {package}.{name}")
    return "\n\n".join(page)
