"""C, NIR, and the card before a plan of TensorRT. Drawn from outside."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from tests.plif_export.core.attacks.artifacts import attack, reseal

# --- C -------------------------------------------------------------------------------------------------------------------


def c(name: str, doc: str, change: Callable[[str], str], header: bool = False) -> None:
    def changed(path: Path) -> None:
        file = path.with_suffix(".h") if header else path
        old = file.read_text()
        assert change(old) != old, name
        file.write_text(change(old))
        reseal(path)

    changed.__doc__ = doc
    attack("c", "refused", name)(changed)


def _in_code(text: str, line: str, before: str) -> str:
    """A line in front of the first that begins with `before`."""
    at = text.index(f"\n{before}")
    return f"{text[:at]}\n{line}{text[at:]}"


def _digit(text: str) -> str:
    """The last digit of the first weight."""
    at = text.index("f,", text.index("_w[")) - 1
    return text[:at] + str((int(text[at]) + 1) % 10) + text[at + 1 :]


_CODE = "static const float "
c("c_a_digit_of_a_weight", "the last digit of one weight", _digit)
c(
    "c_a_comment",
    "a comment in the first lines",
    lambda s: s.replace("a spiking network as C", "a certified network as C", 1),
)
c("c_a_space", "a space at the end of a line", lambda s: s.replace("\n\n", " \n\n", 1))
c("c_carriage_returns", "line ends of Windows", lambda s: s.replace("\n", "\r\n", 3))
c("c_an_include", "a header of the machine that compiles", lambda s: _in_code(s, '#include "/tmp/x.h"', _CODE))
c(
    "c_a_constructor", "code that runs before main",
    lambda s: _in_code(s, "__attribute__((constructor)) static void x(void) { }", _CODE),
)  # fmt: skip
c("c_an_asm", "machine code", lambda s: _in_code(s, '__asm__(".byte 0x90");', _CODE))
c("c_a_macro", "a macro that turns a word of the code", lambda s: _in_code(s, "#define float double", _CODE))
c("c_fast_math", "the guard against -ffast-math is gone", lambda s: s.replace("__FAST_MATH__", "__SLOW_MATH__"))
c("c_contraction", "fused multiply-add is allowed", lambda s: s.replace("fp-contract=off", "fp-contract=fast"))
c(
    "c_text_between_code_and_card",
    "a line in front of the card",
    lambda s: s.replace("\n/* plif.card", "\n;\n/* plif.card"),
)
c("c_trigraph", "a comment that ends in a backslash", lambda s: _in_code(s, "// what \\", _CODE))
c("c_bidirectional_text", "letters that turn what is shown", lambda s: _in_code(s, "/* \u202e */", _CODE))
c("c_header_says_other_classes", "CLASS_NAMES", lambda s: s.replace('CLASS_NAMES {"', 'CLASS_NAMES {"not ', 1), True)
c(
    "c_header_has_a_define",
    "a macro for the program around",
    lambda s: s.replace("#include", "#define T 1\n#include", 1),
    True,
)
c("c_header_votes", "VOTES rounds down", lambda s: s.replace("+ 0.5f", "+ 0.0f"), True)
c(
    "c_header_comment",
    "a comment says another licence",
    lambda s: s.replace("No heap, no thread", "Some heap, no thread"),
    True,
)
c(
    "c_header_input_is_a_byte",
    "another type of input",
    lambda s: s.replace("typedef float", "typedef unsigned char"),
    True,
)
c("c_header_at_its_end", "code behind the last line", lambda s: s + "int x;\n", True)


@attack("c")
def c_header_is_gone(path: Path) -> None:
    """the header that the source includes"""
    path.with_suffix(".h").unlink()


@attack("c")
def c_text_behind_the_card(path: Path) -> None:
    """code behind the last comment"""
    reseal(path)
    path.write_text(path.read_text() + "int x;\n")


@attack("c")
def c_two_cards(path: Path) -> None:
    """the comment with the card twice"""
    reseal(path)
    text = path.read_text()
    path.write_text(text + text[text.index("\n/* plif.card") :])


@attack("c")
def c_digest_line(path: Path) -> None:
    """the line above the card, which people compare"""
    text = path.read_text()
    at = text.rindex("\ndigest ") + len("\ndigest ")
    path.write_text(text[:at] + "0" * 64 + text[at + 64 :])


# --- NIR -----------------------------------------------------------------------------------------------------------------


def nir(change: Callable[[h5py.File], object]) -> None:
    def changed(path: Path) -> None:
        with h5py.File(path, "r+") as file:
            change(file)
        reseal(path)

    changed.__doc__ = change.__doc__
    attack("nir", "refused", change.__name__)(changed)


def _datasets(file: h5py.File, kind: str) -> list[h5py.Dataset]:
    """Data sets of that name, of all nodes."""
    found: list[h5py.Dataset] = []
    file.visititems(lambda name, item: found.append(item) if name.endswith(f"/{kind}") else None)
    return found


def _rewritten(item: h5py.Dataset, values: Any) -> None:
    parent, name = item.parent, item.name.rpartition("/")[2]
    del parent[name]
    parent.create_dataset(name, data=values)


@nir
def nir_threshold(file: h5py.File) -> None:
    """another threshold"""
    found = _datasets(file, "v_threshold")[0]
    found[...] = found[()] * (1 + 1e-6)


@nir
def nir_weight(file: h5py.File) -> None:
    """a weight by a thousandth"""
    found = _datasets(file, "weight")[0]
    values = found[()]
    values.flat[np.abs(values).argmax()] *= 1.001
    found[...] = values


@nir
def nir_weights_of_float64(file: h5py.File) -> None:
    """the same numbers in another type"""
    found = _datasets(file, "weight")[0]
    _rewritten(found, found[()].astype(np.float64))


@nir
def nir_extra_group(file: h5py.File) -> None:
    """a group beside the network"""
    file.create_group("other").create_dataset("weight", data=np.zeros(4))


@nir
def nir_empty_group(file: h5py.File) -> None:
    """a group without a data set"""
    file.create_group("node/nodes/unused")


@nir
def nir_attribute(file: h5py.File) -> None:
    """an HDF5 attribute, which no data set shows"""
    file["node"].attrs["dt"] = 1e-3


@nir
def nir_attribute_of_a_dataset(file: h5py.File) -> None:
    """an attribute of a weight"""
    _datasets(file, "weight")[0].attrs["unit"] = "mV"


@nir
def nir_version(file: h5py.File) -> None:
    """the version of the format"""
    _rewritten(file["version"], "9.9")


@nir
def nir_more_metadata(file: h5py.File) -> None:
    """one more text beside the card"""
    file["node/metadata"].create_dataset("dt", data=1e-3)


@nir
def nir_extra_parameter(file: h5py.File) -> None:
    """a parameter that the node's type does not have"""
    _datasets(file, "v_threshold")[0].parent.create_dataset("noise", data=np.ones(1))


@nir
def nir_extra_edge(file: h5py.File) -> None:
    """an edge twice: some tools add the current twice"""
    edges = file["node/edges"][()]
    del file["node/edges"]
    file["node"].create_dataset("edges", data=np.concatenate([edges, edges[:1]]), dtype=h5py.string_dtype())


# --- TensorRT ------------------------------------------------------------------------------------------------------------


@attack("tensorrt-rtx")
def tensorrt_card_with_other_classes(path: Path) -> None:
    """the card stands before the plan, and is no part of it"""
    reseal(path, lambda card: card.update(classes=card["classes"][::-1]))


@attack("tensorrt-rtx")
def tensorrt_card_with_a_view(path: Path) -> None:
    """a key that the runtime obeys"""
    reseal(path, lambda card: card.update(view="upright"))
