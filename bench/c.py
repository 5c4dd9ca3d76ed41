"""The C of `plif export --to c` beside that of emx-onnx-cgen (Apache-2.0), which turns our step ONNX into C: size and time.

    pip install emx-onnx-cgen                                  in an environment of its own
    python bench/c.py --emx /path/emx-onnx-cgen --frames frames.f32
    python bench/c.py --frames frames.f32 --precision int8,int4,ternary       ours alone

The digits network that ships, in float32 and int8, on the frames of a recording. Code lines: without the numbers. Flash, RAM and
instructions: for a Cortex-M4F by arm-none-eabi-gcc -O2, counted by QEMU's board mps2-an386 (-icount shift=0, SysTick); RAM is
static buffers, states and stack. Steps a second: gcc -O3 -march=native here, in rounds one after the other, and the median ratio.
Outputs of all programs are compared.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from bench.machine import machine
from plif_export import export
from plif_export.targets.c.size import CORTEX_M4
from runtime.core.model.card import Card, read_card

ROOT = Path(__file__).resolve().parent.parent
BOARD = ROOT / "examples" / "cortex-m"
QEMU = (
    "qemu-system-arm",
    "-M",
    "mps2-an386",
    "-nographic",
    "-monitor",
    "none",
    "-serial",
    "none",
    "-icount",
    "shift=0",
)
EMX = ("--large-weight-threshold", "0", "--large-temp-threshold", "0", "--restrict-arrays")


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--emx", help="the program emx-onnx-cgen; ours alone when not given")
    parser.add_argument("--precision", default="fp32,int8")
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "nmnist-digits.pt")
    parser.add_argument("--frames", type=Path, required=True, help="float32 frames, one after the other")
    parser.add_argument("--rounds", type=int, default=7)
    options = parser.parse_args()
    rows = []
    with tempfile.TemporaryDirectory() as name:
        for precision in options.precision.split(","):
            folder = Path(name) / precision
            folder.mkdir()
            rows += compare(options, precision, folder)
    print(json.dumps({"machine": machine(), "rows": rows}, indent=2))


def compare(options: argparse.Namespace, precision: str, folder: Path) -> list[dict[str, Any]]:
    source = export(options.model, folder / "net.c", to="c", precision=precision, verify=False).path
    model = export(options.model, folder / "net.onnx", precision=precision, batch=1, verify=False).path
    card = read_card(model)
    if options.emx:
        subprocess.run([options.emx, "compile", model, folder / "emx.c", *EMX], check=True, capture_output=True)
    (folder / "ours_adapter.c").write_text(
        '#include "net.h"\nvoid bench_reset(void) { net_reset(); }\n'
        "void bench_step(const float x[], float y[]) { net_step(x, y); }\n"
    )
    (folder / "emx_adapter.c").write_text(emx_adapter(card))
    steps = options.frames.stat().st_size // (4 * prod(card["input"]["shape"]))
    sizes = (f"-DSTEPS={steps}", f"-DINPUTS={prod(card['input']['shape'])}", f"-DCLASSES={len(card['classes'])}")
    programs = {"plif": (source, folder / "ours_adapter.c")}
    if options.emx:
        programs["emx-onnx-cgen"] = (folder / "emx.c", folder / "emx_adapter.c")
    rows = {
        who: {"program": who, "precision": precision, **on_board(options, files, sizes, folder)}
        for who, files in programs.items()
    }
    for who, files in programs.items():
        command = [
            "gcc",
            "-std=gnu99",
            "-O3",
            "-march=native",
            "-w",
            *sizes,
            "-I",
            folder,
            *files,
            ROOT / "bench" / "c_step.c",
            "-lm",
        ]
        subprocess.run([*command, "-o", folder / who], check=True)
    seconds: dict[str, list[float]] = {who: [] for who in programs}
    for _ in range(options.rounds):
        for who in programs:
            shell = f"ulimit -s unlimited; {folder / who} {options.frames} {20 if who == 'plif' else 4}"
            seconds[who].append(float(subprocess.run(["sh", "-c", shell], check=True, capture_output=True).stdout))
    for who, row in rows.items():
        row["steps_per_s"] = round(1 / float(np.median(seconds[who])), 1)
    outputs = [row.pop("outputs") for row in rows.values()]
    if options.emx:
        ratios = np.array(seconds["emx-onnx-cgen"]) / np.array(seconds["plif"])
        rows["plif"]["times_as_fast"] = [round(float(v), 2) for v in np.percentile(ratios, (50, 0, 100))]
        rows["plif"]["same_outputs"] = outputs[0] == outputs[1]
    return list(rows.values())


def emx_adapter(card: Card) -> str:
    """Two buffers for each state, which change roles, as the generated function asks for."""
    sizes = [prod(state["shape"]) for state in card["states"]]
    buffers = "".join(f"static float s{i}[2][{n}];\n" for i, n in enumerate(sizes))
    ins, outs = (", ".join(f"s{i}[{k}]" for i in range(len(sizes))) for k in ("k", "!k"))
    clear = "".join(
        f"    for (int i = 0; i < {n}; i++) s{j}[k][i] = {state['initial']}f;\n"
        for j, (n, state) in enumerate(zip(sizes, card["states"], strict=True))
    )
    return (
        f"void model({', '.join(['const void *'] * (1 + len(sizes)) + ['void *'] * (1 + len(sizes)))});\n{buffers}static int k;\n"
        f"void bench_reset(void)\n{{\n{clear}}}\n"
        f"void bench_step(const float x[], float y[])\n{{\n    model(x, {ins}, y, {outs});\n    k = !k;\n}}\n"
    )


def on_board(
    options: argparse.Namespace, files: tuple[Path, Path], sizes: tuple[str, ...], folder: Path
) -> dict[str, Any]:
    """Lines, flash, RAM and instructions a step on the emulated Cortex-M4F."""
    built = folder / f"{files[0].stem}.elf"
    arm = ["arm-none-eabi-gcc", *CORTEX_M4, "-std=gnu99", "-O2", "-w", "-ffunction-sections", "-fdata-sections"]
    parts = []
    for file in files:
        parts.append(folder / f"{file.stem}.arm.o")
        subprocess.run([*arm, "-fstack-usage", "-I", folder, "-c", file, "-o", parts[-1]], check=True, cwd=folder)
    memory = [
        "-nostartfiles",
        "--specs=nano.specs",
        "-T",
        BOARD / "mps2.ld",
        "-Wl,--gc-sections",
        "-Wl,--defsym=FLASH_SIZE=4M",
        "-Wl,--defsym=RAM_SIZE=4M",
    ]
    harness = ["-DBOARD", *sizes, "-I", BOARD, ROOT / "bench" / "c_step.c", BOARD / "board.c"]
    subprocess.run([*arm, *parts, *harness, *memory, "-lm", "-o", built], check=True)
    lines = subprocess.run(
        ["arm-none-eabi-size", *parts], check=True, capture_output=True, text=True
    ).stdout.splitlines()[1:]
    numbers = [[int(v) for v in line.split()[:3]] for line in lines]
    stacks = [int(line.split("\t")[1]) for part in parts for line in part.with_suffix(".su").read_text().splitlines()]
    host = f"enable=on,target=native,chardev=host,arg=net,arg={options.frames}"
    done = subprocess.run(
        [*QEMU, "-chardev", "stdio,id=host", "-semihosting-config", host, "-kernel", built],
        check=True, capture_output=True, text=True, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    steps = [[int(v) for v in line.split()] for line in done.stdout.splitlines()]
    code = [line for line in files[0].read_text().splitlines() if not re.fullmatch(r"[-\s\da-fpxuLU.,{}+]*;?", line)]
    return {
        "code_lines": sum("plif.card" not in line and not line.startswith('{"') for line in code),
        "flash": sum(n[0] + n[1] for n in numbers),
        "ram": sum(n[1] + n[2] for n in numbers) + max(stacks),
        "instructions_a_step": int(np.median([step[0] for step in steps])),
        "outputs": [step[1:] for step in steps],
    }


if __name__ == "__main__":
    main()
