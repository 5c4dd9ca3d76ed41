"""The best rates that this processor reaches, measured: the limits of every dense engine.

    python bench/roofline.py
    python bench/roofline.py --threads 2 --json

Arithmetic: the best of PyTorch's convolution (128 channels, 64x64, 3x3, channels_last) and matrix product (2048; 512 where the
processor has no unit for the type) in float32 and bfloat16, and its int8 matrix product. Memory: a multiplication in place, over
11 MB (caches) and 400 MB (DRAM), read and write counted. A dense step of a network takes at least its operations divided by
these rates, and its bytes divided by memory's.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import plif_train
from bench import workload
from bench.machine import machine

REPEATS, WARM_UP = 15, 3
SLOW_S = 0.1  # of a product of 512 by 512: 2.7 GOP/s


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    workload.with_malloc_settings()
    torch.set_num_threads(options.threads)
    with torch.inference_mode():
        rows = measure(options.threads)
    net = plif_train.build(workload.GESTURE)
    report = {
        "bench": "roofline",
        "machine": machine(),
        "threads": options.threads,
        "operations": workload.operations(net),
        "weights": workload.weights(net),
        "neurons": workload.neurons(net),
        "rows": rows,
    }
    if options.json:
        print(json.dumps(report))
        return
    for row in rows:
        print(f"{row['name']:34} {row['rate']:9.1f} {row['unit']}   {row['p50_ms']:.3f} ms")


def measure(threads: int) -> list[dict[str, Any]]:
    rows = []
    for precision, dtype in (("fp32", torch.float32), ("bf16", torch.bfloat16)):
        x = torch.randn(1, 128, 64, 64, dtype=dtype).contiguous(memory_format=torch.channels_last)
        w = torch.randn(128, 128, 3, 3, dtype=dtype).contiguous(memory_format=torch.channels_last)
        a = torch.randn(*matrix(dtype), dtype=dtype)
        conv = 2 * 128 * 128 * 9 * 64 * 64
        rows.append(row("convolution", precision, threads, lambda x=x, w=w: F.conv2d(x, w, padding=1), conv, "GOP/s"))
        rows.append(row("matrix product", precision, threads, lambda a=a: a @ a, 2 * len(a) ** 3, "GOP/s"))
    q = torch.ones(matrix(torch.int8), dtype=torch.int8)
    rows.append(row("matrix product", "int8", threads, lambda: torch._int_mm(q, q), 2 * len(q) ** 3, "GOP/s"))
    for megabytes in (11, 400):
        v = torch.ones(megabytes * 250_000)
        rows.append(row(f"memory, {megabytes} MB", "fp32", threads, lambda v=v: v.mul_(1.0), 2 * 4 * v.numel(), "GB/s"))
    return rows


def matrix(dtype: torch.dtype) -> tuple[int, int]:
    """Return the size of a product: 2048 by 2048, or 512 without a unit for the type (2048 takes a minute there)."""
    a = torch.ones(512, 512, dtype=dtype)
    began = time.perf_counter()
    _ = torch._int_mm(a, a) if dtype == torch.int8 else a @ a
    return (2048, 2048) if time.perf_counter() - began < SLOW_S else (512, 512)


def row(name: str, precision: str, threads: int, job: Callable[[], object], work: int, unit: str) -> dict[str, Any]:
    times = []
    for i in range(WARM_UP + REPEATS):
        began = time.perf_counter()
        job()
        if i >= WARM_UP:
            times.append(1e3 * (time.perf_counter() - began))
    p50 = float(np.median(times))
    return {
        "name": f"{name}, {precision}",
        "engine": "pytorch",
        "precision": precision,
        "threads": threads,
        "p50_ms": round(p50, 4),
        "p99_ms": round(float(np.percentile(times, 99)), 4),
        "spike_mismatches": None,
        "rate": round(work / p50 / 1e6, 1),
        "unit": unit,
    }


if __name__ == "__main__":
    main()
