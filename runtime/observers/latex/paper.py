r"""The report of an evaluation for a paper: DIR/latex.

    results.tex      compiles alone: pdflatex results, bibtex results, pdflatex results, twice; any LaTeX engine works
    proof.tex, accuracy.tex, latency.tex, classes.tex, layers.tex    its parts, to \input into a paper; they need
                                                                     booktabs
    NAME.pdf         its figures, a column wide
    references.bib   the cited works

Numbers are those of the evaluation, and untrusted texts are escaped (`escape_latex`, below).
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path

import numpy as np

from runtime.core.base.errors import MissingExtra
from runtime.core.base.files import atomic_write, make_folder
from runtime.core.base.text import MAX_CHARS as MOST_OF_A_TEXT
from runtime.core.base.text import printable
from runtime.core.base.version import __version__
from runtime.core.measure.metrics import wilson_interval
from runtime.observers.evaluation_report.drawings import make_line_charts
from runtime.observers.evaluation_report.parts import format_count
from runtime.observers.evaluation_report.report import EvaluationReport

_ACCENTS = dict(
    zip("\u0300\u0301\u0302\u0303\u0304\u0306\u0307\u0308\u030a\u030b\u030c\u0327", "`'^~=u.\"rHvc", strict=True)
)
_COMMANDS = {
    "\\": "textbackslash", "<": "textless", ">": "textgreater", "|": "textbar", "^": "textasciicircum", "~": "textasciitilde",
    '"': "textquotedblright", "'": "textquoteright", "`": "textquoteleft",
    "ß": "ss", "ø": "o", "Ø": "O", "æ": "ae", "Æ": "AE", "œ": "oe", "Œ": "OE", "ł": "l", "Ł": "L",
}  # fmt: skip
_LATEX = {char: f"\\{char}" for char in "#$%&_{}"} | {char: f"{{{char}}}" for char in "[]*"}  # special after \\
_LATEX |= {char: f"\\{name}{{}}" for char, name in _COMMANDS.items()}

FOLDER, BIB = "latex", "references.bib"
FIGURES = ("confusion", "accuracy-by-steps", "accuracy-by-events", "early-exit", "calibration", "latency")  # and more
SETS = {  # the citation of a data set
    "nmnist": "orchard2015nmnist",
    "dvs128-gesture": "amir2017gesture",
    "cifar10-dvs": "li2017cifar10dvs",
    "mnist": "lecun1998mnist",
    "fashion-mnist": "xiao2017fashion",
    "cifar10": "krizhevsky2009cifar",
}
MAX_NAME = 60  # characters of a name
MAX_CLASSES = 40  # on one page
INTERVAL = r"95\,\% interval"


def require_matplotlib() -> None:
    """Raise MissingExtra if matplotlib, which draws the figures, is missing."""
    try:
        import matplotlib  # noqa: F401
    except ImportError:
        raise MissingExtra("plif eval --latex", "export") from None


def write_latex(report: EvaluationReport, folder: Path) -> list[Path]:
    """Write the folder `latex` with tables and figures of an evaluation; return its files, results.tex first.

    Files of an older run are removed.
    """
    place = make_folder(folder / FOLDER)
    texts = {name: text for name, make in PARTS.items() if (text := make(report))}
    figures = _make_figures(report)
    texts["results"] = _document(report, [*texts], {name: caption for name, (caption, _) in figures.items()})
    bib = Path(__file__).with_name(BIB).read_text("utf-8").replace("VERSION", __version__)
    names = [f"{name}.tex" for name in ("results", *PARTS)] + [BIB]
    names += dict.fromkeys(
        [*(f"{name}.pdf" for name in (*FIGURES, *figures)), *(old.name for old in place.glob("*.pdf"))]
    )
    contents = {f"{name}.tex": text for name, text in texts.items()} | {BIB: bib}
    with atomic_write(*(place / name for name in names)) as parts:
        for name, part in zip(names, parts, strict=True):
            if name in contents:
                part.write_text(contents[name], encoding="ascii")
            elif (figure := figures.get(name.removesuffix(".pdf"))) is not None:
                figure[1](part)
    return [path for name in names if (path := place / name).is_file()]


def _make_figures(report: EvaluationReport) -> dict[str, tuple[str, Callable[[Path], None]]]:
    """Return the figures of a report, {name: (caption, function that draws the figure into a PDF file)}."""
    from runtime.observers.latex import pdf

    r, (edges, counts) = report.evaluation, report.times
    figures = {
        name: (escape_latex(chart.title), partial(pdf.draw_lines, chart))
        for name, chart in make_line_charts(report).items()
    }
    if len(r.classes) <= MAX_CLASSES:
        caption = "Confusion matrix: a row is a true class, a column an answer"
        figures["confusion"] = caption, partial(pdf.draw_confusion, np.array(r.confusion), r.classes)
    if counts:
        drawn = partial(pdf.draw_histogram, "milliseconds a sample", "samples", edges, counts)
        figures["latency"] = "Time of the engine for a sample", drawn
    return {name: figures[name] for name in dict.fromkeys((*FIGURES, *figures)) if name in figures}


def _document(report: EvaluationReport, parts: Sequence[str], figures: Mapping[str, str]) -> str:
    lines = [
        "% Made by plif eval --latex, and written over by the next one: \\input the parts into a paper of yours.",
        r"\documentclass{article}",
        r"\usepackage{booktabs,graphicx}",
        r"\usepackage[margin=25mm]{geometry}",
        r"\setlength{\belowcaptionskip}{4pt}",
        r"\begin{document}",
        rf"\section*{{{_name(report)}}}",
        *(rf"\input{{{part}}}" for part in parts),
    ]
    for name, caption in figures.items():
        lines.append(_float("figure", name, f"{caption}.", rf"\includegraphics{{{name}.pdf}}"))
    lines += [r"\bibliographystyle{plain}", rf"\bibliography{{{BIB.removesuffix('.bib')}}}", r"\end{document}", ""]
    return "\n".join(lines)


def _proof_text(report: EvaluationReport) -> str:
    """Return the result of the proof that the artifact computes the same as its model, as LaTeX text."""
    parity, name = report.card.get("parity"), _name(report)
    if not isinstance(parity, dict):
        return f"Nothing was proved of {name}: its card holds no comparison with another network.\n"
    kind = r" of PLIF neurons~\cite{fang2021plif}" if "PLIF" in str(report.card.get("notation")) else ""
    differ, excused = parity["spike_mismatches"], parity["excused"]
    lines = [
        f"The exported network{kind}, {name}, was compared with the one that it was made from, spike by spike~\\cite{{plif}}: of "
        f"{parity['spikes']} spikes in {parity['steps']} time-steps {differ or 'none'} differed"
        + (f", {excused} of them where a membrane lies within rounding of its threshold" if excused else "")
        + f", membrane potentials differed by at most {_format_small(parity['max_abs_dv'])}, and "
        f"{parity['decisions_changed'] or 'none'} of {parity['decisions']} decisions changed."
    ]
    if not parity["passed"]:
        lines.append("The comparison failed.")
    for key, words in (("untested", "Layers that did not fire in it"), ("not_proved", "Not proved")):
        if parity.get(key):
            lines.append(f"{words}: {escape_latex(', '.join(map(str, parity[key])))}.")
    return " ".join(lines) + "\n"


def _accuracy(report: EvaluationReport) -> str:
    r = report.evaluation
    rows = [_accuracy_row(_name(report), r.accuracy, r.correct, r.samples, r.macro_f1, r.mean_steps)]
    key = SETS.get(r.data.partition(":")[0])
    citation = rf"~\cite{{{key}}}" if key else ""
    subject = f"{escape_latex(r.data, MAX_NAME)}, {escape_latex(r.split)} split{citation}"
    caption = rf"Accuracy on {subject}, with Wilson's {INTERVAL}~\cite{{wilson1927}}."
    if r.unanswered:
        caption += f" {r.unanswered} samples without an answer count as wrong."
    if r.against is not None:
        against = r.against
        rows.append(
            _accuracy_row(
                escape_latex(against["path"], MAX_NAME), against["accuracy"], against["correct"], r.samples, None, None
            )
        )
        caption += (
            f" They differ in {against['decisions_changed']} decisions; McNemar's exact test~\\cite{{mcnemar1947}}: "
            f"p = {_format_small(against['p'])}."
        )
    head = ["Network", r"Accuracy (\%)", "Interval", "Correct", r"Macro F1 (\%)", "Steps"]
    return _table("accuracy", caption, head, rows)


def _accuracy_row(
    name: str, accuracy: float, correct: int, samples: int, f1: float | None, steps: float | None
) -> list[str]:
    return [
        name,
        _percent(accuracy, ".2f"),
        _format_interval(wilson_interval(correct, samples)),
        f"{correct} of {samples}",
        _percent(f1, ".2f"),
        "--" if steps is None else f"{steps:.3g}",
    ]


def _latency(report: EvaluationReport) -> str:
    r = report.evaluation
    times = []
    for key in ("p50", "p99"):
        ms, *ends = ("--" if t is None else f"{t:.3g}" for t in (r.latency_ms[key], *r.latency_interval_ms[key]))
        times += [ms, f"[{', '.join(ends)}]"]
    processor = escape_latex(r.versions.get("processor", "this machine"), MAX_NAME)
    caption = (
        f"Milliseconds of a call of the engine, which steps a batch, on {processor}: percentiles with {INTERVAL}s from order "
        "statistics, with a dash where there were too few calls. Throughput has reading in it."
    )
    head = ["Engine", "Precision", "Batch", "p50", "Interval", "p99", "Interval", "Samples/s"]
    row = [
        escape_latex(r.engine),
        escape_latex(str(report.card.get("precision", ""))),
        str(r.batch),
        *times,
        f"{r.throughput_per_s:.4g}",
    ]
    return _table("latency", caption, head, [row])


def _classes(report: EvaluationReport) -> str:
    r = report.evaluation
    if len(r.classes) > MAX_CLASSES:
        return ""
    rows = []
    for i, row in enumerate(r.per_class):
        ends = _format_interval(wilson_interval(r.confusion[i][i], row["samples"])) if row["samples"] else "--"
        shown = [_percent(row["precision"]), _percent(row["recall"]), ends, _percent(row["f1"])]
        rows.append([escape_latex(row["class"], MAX_NAME), str(row["samples"]), *shown])
    caption = f"Each class of {escape_latex(r.data, MAX_NAME)}, in percent, with the {INTERVAL} of its recall."
    return _table("classes", caption, ["Class", "Samples", "Precision", "Recall", "Interval", "F1"], rows)


def _layers(report: EvaluationReport) -> str:
    a = report.activity
    if a is None:
        return ""
    rows = [
        [
            escape_latex(layer.layer, MAX_NAME),
            r"$\times$".join(map(str, layer.shape)),
            _percent(layer.rate, ".2f"),
            str(layer.dead),
            str(layer.saturated),
        ]
        for layer in a.layers
    ]
    dense = sum(ops.dense for ops in a.operations)
    caption = (
        rf"Neurons over {a.samples} samples; dead ones never fired, saturated ones in 95\,\% of the time-steps or more. "
        rf"A sample takes {format_count(a.synops)} synaptic operations, {_percent(a.synops / dense)}\,\% of a dense "
        rf"network's~\cite{{yik2023neurobench}}; an estimate of this arithmetic alone is "
        rf"{a.nanojoules / 1e3:.3g}\,$\mu$J~\cite{{horowitz2014energy}}."
    )
    return _table("layers", caption, ["Layer", "Neurons", r"Rate (\%)", "Dead", "Saturated"], rows)


PARTS = {"proof": _proof_text, "accuracy": _accuracy, "latency": _latency, "classes": _classes, "layers": _layers}


def _table(name: str, caption: str, head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return the LaTeX code of a floating table; the first column holds texts, the others numbers."""
    lines = [
        r"\small",
        rf"\begin{{tabular}}{{l{'r' * (len(head) - 1)}}}",
        r"\toprule",
        rf"{' & '.join(head)} \\",
        r"\midrule",
    ]
    lines += [rf"{' & '.join(row)} \\" for row in rows]
    lines += [r"\bottomrule", r"\end{tabular}"]
    return _float("table", name, caption, "\n".join(lines)) + "\n"


def _float(kind: str, name: str, caption: str, body: str) -> str:
    end = rf"\end{{{kind}}}"
    label = rf"\label{{{'tab' if kind == 'table' else 'fig'}:plif-{name}}}"
    header = [rf"\caption{{{caption}}}", label]
    parts = [*header, body] if kind == "table" else [body, *header]
    return "\n".join([rf"\begin{{{kind}}}[htbp]", r"\centering", *parts, end])


def _percent(share: float | None, digits: str = ".1f") -> str:
    return "--" if share is None else format(100 * share, digits)


def _format_small(value: float) -> str:
    r"""Format a number for LaTeX: 0.012 or $1.2 \cdot 10^{-5}$."""
    if value == 0 or value >= 1e-3:
        return f"{value:.2g}"
    digits, exponent = f"{value:.1e}".split("e")
    return rf"${digits} \cdot 10^{{{int(exponent)}}}$"


def _format_interval(interval: tuple[float, float]) -> str:
    """Format an interval of shares in percent: "[96.2, 98.2]"."""
    return f"[{', '.join(_percent(end) for end in interval)}]"


def _name(report: EvaluationReport) -> str:
    return escape_latex(report.evaluation.artifact.get("path", "network"), MAX_NAME)


def escape_latex(text: str, most: int = MOST_OF_A_TEXT) -> str:
    """Escape a text for LaTeX: no command, no formula, no comment, and ASCII only, for any engine and font.

    A character that no accent command gives is written as its code point, U+624B.
    """
    escaped: list[str] = []
    for char in unicodedata.normalize("NFD", printable(text, most)):
        if char in _ACCENTS and escaped and escaped[-1].isalpha():
            escaped[-1] = f"\\{_ACCENTS[char]}{{{escaped[-1]}}}"
        else:
            escaped.append(_LATEX.get(char) or (char if char.isascii() else f"U+{ord(char):04X}"))
    return re.sub("-(?=-)", "-{}", "".join(escaped))  # two hyphens would be a dash
