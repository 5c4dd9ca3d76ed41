"""Whether a folder of LaTeX files would compile, judged by its structure; and it is compiled where there is a LaTeX."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

COMMANDS = set(  # of LaTeX itself, booktabs and graphicx: what any LaTeX engine has
    re.findall(
        r"\w+",
        "documentclass usepackage setlength belowcaptionskip begin end input section caption label centering small toprule "
        "midrule bottomrule includegraphics bibliographystyle bibliography cite times cdot mu textbackslash textless "
        "textgreater textbar textasciicircum textasciitilde textquotedblright textquoteright textquoteleft "
        "ss o O ae AE oe OE l L c v u r H",
    )
)


def check_latex(folder: Path) -> str:
    """The text of results.tex with its parts. AssertionError where it would not compile: an unknown command, a brace or an
    environment that is not closed, a row with another number of cells, a file, citation or letter that is not there."""
    whole = re.sub(r"\\input\{(\w+)\}", lambda part: (folder / f"{part[1]}.tex").read_text("ascii"),
                   (folder / "results.tex").read_text("ascii"))  # fmt: skip
    whole = re.sub(r"^%.*$", "", whole, flags=re.MULTILINE)
    found = set(re.findall(r"\\([A-Za-z]+)", whole))
    assert found <= COMMANDS, found - COMMANDS
    bare = re.sub(r"\\[^A-Za-z]", "", whole)  # without \{ \% \\ and the like
    assert not re.search(r"[#%^~_](?!\\cite|\{-)", bare.replace("$", "")), "a letter that means something"
    depth = 0
    for char in bare:
        depth += (char == "{") - (char == "}")
        assert depth >= 0
    assert depth == 0 and bare.count("$") % 2 == 0
    open_ones: list[str] = []
    for kind, name in re.findall(r"\\(begin|end)\{(\w+)\}", whole):
        if kind == "begin":
            open_ones.append(name)
        else:
            assert open_ones.pop() == name
    assert not open_ones
    for columns, body in re.findall(r"\\begin\{tabular\}\{(\w+)\}(.*?)\\end\{tabular\}", whole, re.DOTALL):
        rows = [row for row in body.split("\\\\\n") if "&" in row]
        assert len(rows) > 1 and all(len(re.findall(r"(?<!\\)&", row)) == len(columns) - 1 for row in rows), rows
        assert not re.search(r"\\\\\s*[\[*]", body), "a cell that LaTeX takes for an argument of the end of the row"
    keys = set(re.findall(r"^@\w+\{(\w+),$", (folder / "references.bib").read_text("ascii"), re.MULTILINE))
    assert set(re.findall(r"\\cite\{(\w+)\}", whole)) <= keys
    drawn = set(re.findall(r"\\includegraphics\{([\w-]+\.pdf)\}", whole))
    assert drawn == {path.name for path in folder.glob("*.pdf")}
    for name in drawn:
        content = (folder / name).read_bytes()
        assert content.startswith(b"%PDF-") and b"/FontFile2" in content, f"{name} has its fonts inside"
    return whole


def compile_latex(folder: Path) -> str:
    """Compiles results.tex as its first line says; the log of LaTeX. Needs pdflatex and bibtex."""
    for program in ("pdflatex", "bibtex", "pdflatex", "pdflatex"):
        said = ["-interaction=nonstopmode", "-halt-on-error"] if program == "pdflatex" else []
        done = subprocess.run([program, *said, "results"], cwd=folder, capture_output=True, text=True, timeout=120)
        assert done.returncode == 0, done.stdout[-3000:]
    return (folder / "results.log").read_text(errors="replace")


def has_latex() -> bool:
    return all(map(shutil.which, ("pdflatex", "bibtex")))
