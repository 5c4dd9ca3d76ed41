"""Pages of the web site that are made when it is built: the reference, from --help and docstrings. mkdocs.yml calls `on_...`."""

from __future__ import annotations

import importlib
import re
from typing import Any

from mkdocs.structure.files import File, Files

from runtime.cli.main import COMMANDS, app

PACKAGES = ("plif", "runtime", "plif_export", "plif_train")


def on_files(files: Files, config: Any) -> Files:
    files.append(File.generated(config, "commands.md", content=commands()))
    files.append(File.generated(config, "api.md", content=api()))
    return files


def on_page_content(html: str, page: Any, **_: Any) -> str:
    """Lists of parameters in docstrings, `name   what it is`, keep their lines."""
    columns = r"<p>(?=(?:(?!</p>).)*\S {3,}\S)"
    return (
        re.sub(columns, '<p style="white-space: pre-wrap">', html, flags=re.DOTALL)
        if page.file.src_uri == "api.md"
        else html
    )


def commands() -> str:
    """Each command of plif with what `--help` prints."""
    page = [
        "# Commands",
        "Exit codes: 0 done, 1 the check that was asked for failed, 2 bad file or usage, 130 interrupted, "
        "141 who read the output went away (`| head -1`).",
    ]
    for name in COMMANDS:
        command = app.get_command(None, name)
        context = command.context_class(command, info_name=f"plif {name}", terminal_width=80)
        page.append(f"## plif {name}\n\n```\n{command.get_help(context)}\n```")
    return "\n\n".join(page)


def api() -> str:
    """The public names of each package, in the words of their docstrings (mkdocstrings fills them in)."""
    page = [
        "# Python: reference",
        "What others may rely on. [Training, data and networks in Python](python.md) has examples.",
    ]
    for package in PACKAGES:
        module: Any = importlib.import_module(package)
        page.append(f"## {package}")
        for name in module.__all__:
            home = getattr(getattr(module, name), "__module__", "")
            if home.partition(".")[0] == package:  # what plif takes from the others stands under theirs
                page.append(f"::: {package}.{name}")
    return "\n\n".join(page)
