"""The flash and RAM of a generated network, and whether they fit a budget.

The arrays are counted layer by layer while they are written. The code is measured: compiled for a Cortex-M4 if
arm-none-eabi-gcc is installed, else by the compiler of this machine, with another code size. RAM is the static
buffers, the caller's frame and output, and the largest stack (plif_export/writers/c/program.py).
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


def parse_bytes(text: str, option: str) -> int:
    """Parse a memory size with a unit: "512K" -> 524288."""
    match = re.fullmatch(r"(\d+)([KM]?)", text.strip().upper().removesuffix("B"))
    if match is None or not int(match[1]):
        raise PlifError(f"{option} {text}: expected bytes such as 524288, 512K or 1M")
    return int(match[1]) * UNITS[match[2]]


@dataclass
class MemorySize:
    """The flash and RAM that a network in generated C code needs, in bytes.

    flash, ram: totals, code included if it could be measured;  buffers, caller, stack: the parts of ram;  code: its
    bytes, None without a compiler;  method: the measurement in words;  layers: {layer: its constants and buffers}
    """

    flash: int
    buffers: int
    caller: int
    stack: int
    code: int | None
    method: str
    layers: Mapping[str, LayerMemory]

    @property
    def ram(self) -> int:
        return self.buffers + self.caller + self.stack

    def totals(self) -> dict[str, int]:
        """Return the total flash and RAM of a generated C network for its metadata card."""
        return {key: getattr(self, key) for key in ("flash", "ram", "buffers", "caller", "stack")}

    def to_dict(self) -> dict[str, object]:
        layers = [{"name": name, "flash": layer.flash, "ram": layer.ram} for name, layer in self.layers.items()]
        return {**self.totals(), "code": self.code, "how": self.method, "layers": layers}

    def sentence(self) -> str:
        code = "without the code" if self.code is None else f"{format_kib(self.code)} of it code"
        return f"flash {format_kib(self.flash)} ({code}), RAM {format_kib(self.ram)} ({self.parts()}); {self.method}"

    def parts(self) -> str:
        return f"buffers {format_kib(self.buffers)}, x and y {format_kib(self.caller)}, stack at most {format_kib(self.stack)}"


def format_kib(size: int) -> str:
    return f"{size / 1024:.1f}K"


def count_arrays(program: CProgram) -> MemorySize:
    """Return the memory that a C program's arrays need, without its machine code."""
    method = "no compiler here, so the arrays alone"
    return MemorySize(program.flash, program.ram, program.caller, program.stack, None, method, program.memory)


def measure_size(files: CFiles, name: str) -> MemorySize:
    """Measure the flash and RAM of a generated C network, by compiling it."""
    arrays = count_arrays(files.program)
    for prefix, flags, processor in (
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
            process = subprocess.run(
                [compiler, *flags, "-std=c99", "-O2", "-ffreestanding", "-c", f"{name}.c", "-o", str(built)],
                cwd=folder, capture_output=True,
            )  # fmt: skip
            if process.returncode:
                continue
            rows = subprocess.run([tool, str(built)], capture_output=True, text=True).stdout.splitlines()
        text, data, bss = map(int, rows[1].split()[:3])
        flash, method = text + data, f"{Path(compiler).name} -O2 {processor}"
        return replace(arrays, flash=flash, buffers=data + bss, code=flash - arrays.flash, method=method)
    return arrays


def explain_excess(size: MemorySize, budgets: Mapping[str, int]) -> str | None:
    """Return why a C network exceeds the user's memory budgets, in one line; None if it fits."""
    for key, budget in budgets.items():
        needed = getattr(size, key)
        if needed > budget:
            name, largest = max(size.layers.items(), key=lambda layer: getattr(layer[1], key))
            kind = "flash" if key == "flash" else "RAM"
            parts = f"{size.parts()}; " if key == "ram" else ""
            return (
                f"it needs {format_kib(needed)} of {kind}, --{key} has {format_kib(budget)}: {parts}layer {name} alone takes "
                f"{format_kib(getattr(largest, key))}"
            )
    return None
