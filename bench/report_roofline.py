"""The sections of docs/performance.md about what the processor allows: dense engines, and the event engine's additions."""

from __future__ import annotations

from pathlib import Path

from bench import report_plots as plots
from bench.report_pieces import Results, about, missing, ms, only, table


def dense(results: Results, figures: Path) -> str:
    title = "What the processor allows"
    roofs = {n: r for n in (1, 2) if (r := only(results, f"roofline-{n}"))}
    if not roofs:
        return missing(title, "python bench/roofline.py")
    names = list(dict.fromkeys(row["name"] for r in roofs.values() for row in r["rows"]))
    by = {(n, row["name"]): row for n, r in roofs.items() for row in r["rows"]}
    units = {row["name"]: row["unit"] for r in roofs.values() for row in r["rows"]}
    body = [[f"{name}, {units[name]}", *[f"{by[n, name]['rate']:.0f}" for n in roofs]] for name in names]
    one = next(iter(roofs.values()))
    floors = []
    for precision in ("fp32", "bf16", "int8"):
        floors.append([f"dense arithmetic, {precision}", *[ms(plots.floor_ms(r, precision)) for r in roofs.values()]])
    floors.append(["membranes read and written, caches", *[ms(plots.membrane_ms(r, "11")) for r in roofs.values()]])
    floors.append(["membranes read and written, DRAM", *[ms(plots.membrane_ms(r, "400")) for r in roofs.values()]])
    steps = {n: r for n in (1, 2) if (r := only(results, f"step-gesture-{n}"))}
    drawn = 1 in roofs and 1 in steps
    if drawn:
        plots.roofline(figures / "roofline.svg", roofs[1], steps[1])
    threads = [f"{n} thread{'s' * (n > 1)}" for n in roofs]
    return "\n\n".join(
        [
            f"## {title}",
            f"A dense step of the Gesture network has {one['operations'] / 1e9:.2f}e9 operations, "
            f"{one['neurons'] / 1e6:.2f} million membranes and {one['weights'] / 1e6:.1f} million weights. The measured rates, "
            "and the shortest dense step at these rates:",
            table(["measured", *threads], body),
            table(["floor, ms", *threads], floors),
            "![roofline](performance/roofline.svg)\n\nThe figure shows the rate that a dense engine would need to be as "
            "fast. An engine above the roof of its precision skips zeros."
            if drawn
            else "",
            about(results, *(f"roofline-{n}" for n in roofs)),
        ]
    )


def additions(results: Results) -> str:
    title = "The event engine against its own roof"
    report = only(results, "additions")
    if report is None:
        return missing(title, "python bench/additions.py")
    parts = report["parts"]
    body = []
    for rows in zip(*(part["rows"] for part in parts.values()), strict=True):
        cells = [[ms(row["ms"] + row["list_ms"]), f"{100 * row['share']:.0f}"] for row in rows]
        body.append([rows[0]["layer"], f"{rows[0]['additions_m']:.2f}", *(cell for row in cells for cell in row)])
    roofs = " and ".join(f"{part['roof_g_per_s']:.0f} in {name}" for name, part in parts.items())
    columns = [f"{name}, {what}" for name in parts for what in ("ms", "% of the roof")]
    return "\n\n".join(
        [
            f"## {title}",
            "The event engine adds a row of weights for each spike and tap. At best (weights in the first-level cache, long "
            f"lists) one thread adds {roofs}, in 1e9 weights a second. Below: a step of each layer of the Gesture network, list "
            "and neurons included, and the share that its additions alone need at that rate.",
            table(["layer", "million additions", *columns], body),
            "The first layer has few additions but reads and writes 2.1 million membranes. The last layers load their weights "
            "from the second-level cache.",
            about(results, "additions"),
        ]
    )
