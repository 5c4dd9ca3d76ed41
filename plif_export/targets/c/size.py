"""How much flash and RAM a generated network takes, and whether that fits a budget.

The arrays are counted layer by layer while they are written. The code is measured: compiled for a Cortex-M4 where
arm-none-eabi-gcc is installed, else by the compiler of this machine, whose code has another size. RAM is the static buffers, the
frame and the output that the caller has, and what the stack takes at most (plif_export/writers/c/program.py).
"""

from __future__ import annotations

import re
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

from plif_export.targets.c.compiled import find_compiler
from plif_export.writers.c.file import CFiles
from plif_export.writers.c.program import CProgram, LayerMemory
from runtime.core.base.errors import PlifError

CORTEX_M4 = ("-mcpu=cortex-m4", "-mthumb", "-mfloat-abi=hard", "-mfpu=fpv4-sp-d16")
UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20}


def bytes_of(text: str, option: str) -> int:
    """ "512K" -> 524288"""
    found = re.fullmatch(r"(\d+)([KM]?)", text.strip().upper().removesuffix("B"))
    if found is None or not int(found[1]):
        raise PlifError(f"{option} {text}: expected bytes such as 524288, 512K or 1M")
    return int(found[1]) * UNITS[found[2]]


@dataclass
class Size:
    """flash, ram: bytes in all, code included where it could be measured;  buffers, caller, stack: the parts of ram;  code: its
    bytes, None where no compiler is;  how: it was measured;  layers: {layer: its constants and buffers}."""

    flash: int
    buffers: int
    caller: int
    stack: int
    code: int | None
    how: str
    layers: Mapping[str, LayerMemory]

    @property
    def ram(self) -> int:
        return self.buffers + self.caller + self.stack

    def totals(self) -> dict[str, int]:
        """What a card says."""
        return {key: getattr(self, key) for key in ("flash", "ram", "buffers", "caller", "stack")}

    def to_dict(self) -> dict[str, object]:
        layers = [{"name": name, "flash": each.flash, "ram": each.ram} for name, each in self.layers.items()]
        return {**self.totals(), "code": self.code, "how": self.how, "layers": layers}

    def sentence(self) -> str:
        code = "without the code" if self.code is None else f"{kilo(self.code)} of it code"
        return f"flash {kilo(self.flash)} ({code}), RAM {kilo(self.ram)} ({self.parts()}); {self.how}"

    def parts(self) -> str:
        return f"buffers {kilo(self.buffers)}, x and y {kilo(self.caller)}, stack at most {kilo(self.stack)}"


def kilo(size: int) -> str:
    return f"{size / 1024:.1f}K"


def of_arrays(program: CProgram) -> Size:
    """Before anything is written: without the code."""
    how = "no compiler here, so the arrays alone"
    return Size(program.flash, program.ram, program.caller, program.stack, None, how, program.memory)


def measure(files: CFiles, name: str) -> Size:
    """The size of a generated network; name: that its source includes its header by."""
    arrays = of_arrays(files.program)
    for prefix, flags, what in (
        ("arm-none-eabi-", CORTEX_M4, "for a Cortex-M4F"),
        ("", (), "for this machine's processor"),
    ):
        compiler = shutil.which("arm-none-eabi-gcc") if prefix else find_compiler()
        tool = shutil.which(f"{prefix}size")
        if compiler is None or tool is None:
            continue
        with tempfile.TemporaryDirectory(prefix="plif-c-") as folder:
            (Path(folder) / f"{name}.c").write_text(files.source, "utf-8")
            (Path(folder) / f"{name}.h").write_text(files.header, "utf-8")
            built = Path(folder) / "net.o"
            made = subprocess.run(
                [compiler, *flags, "-std=c99", "-O2", "-ffreestanding", "-c", f"{name}.c", "-o", str(built)],
                cwd=folder, capture_output=True,
            )  # fmt: skip
            if made.returncode:
                continue
            rows = subprocess.run([tool, str(built)], capture_output=True, text=True).stdout.splitlines()
        text, data, bss = map(int, rows[1].split()[:3])
        flash, how = text + data, f"{Path(compiler).name} -O2 {what}"
        return replace(arrays, flash=flash, buffers=data + bss, code=flash - arrays.flash, how=how)
    return arrays


def too_large(size: Size, budgets: Mapping[str, int]) -> str | None:
    """Why a network does not fit, in one line; None where it does."""
    for key, budget in budgets.items():
        needed = getattr(size, key)
        if needed > budget:
            name, largest = max(size.layers.items(), key=lambda item: getattr(item[1], key))
            kind = "flash" if key == "flash" else "RAM"
            parts = f"{size.parts()}; " if key == "ram" else ""
            return (
                f"it needs {kilo(needed)} of {kind}, --{key} has {kilo(budget)}: {parts}layer {name} alone takes "
                f"{kilo(getattr(largest, key))}"
            )
    return None
