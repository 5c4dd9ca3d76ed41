"""What the sections of docs/performance.md have in common: tables, numbers, and what was measured when, where and how."""

from __future__ import annotations

from typing import Any

Report = dict[str, Any]
Results = dict[str, dict[str, Any]]


def table(head: list[str], rows: list[list[Any]]) -> str:
    lines = [head, ["---"] * len(head), *[["" if cell is None else str(cell) for cell in row] for row in rows]]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def ms(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}" if value < 100 else f"{value:.0f}"


def times(value: float) -> str:
    return f"{value:.2f}" if value < 2 else f"{value:.1f}"


def only(results: Results, name: str) -> Report | None:
    return results[name]["reports"][0] if name in results else None


def missing(title: str, command: str) -> str:
    return f"## {title}\n\nNot measured here yet: `{command}`."


def about(results: Results, *names: str) -> str:
    """Return how to repeat the measurements of a section, their dates and the load; `--list` has each part's command."""
    names = tuple(name for name in names if name in results)
    found = [results[name] for name in names]
    dates = ", ".join(dict.fromkeys(part["date"] for part in found))
    loads = [part["load"] for part in found if part.get("load") is not None]
    busy = f", load {max(loads):.1f}" if loads else ""
    line = f"`python bench/report.py --run {','.join(names)}` ({dates}{busy})."
    first = measured_on(results)
    for part in found:
        here = part["reports"][0].get("machine")
        if here and first and _kind(here) != _kind(first):
            return (
                f"{line} Another machine: {here['processor']}, {here['cores']} cores, event path {here['event_path']}."
            )
    return line


def measured_on(results: Results) -> dict[str, Any] | None:
    """Return the machine of the first part; a section of another machine names its own."""
    machines = [p["reports"][0]["machine"] for p in results.values() if "machine" in p["reports"][0]]
    kinds = [_kind(machine) for machine in machines]
    return max(machines, key=lambda machine: kinds.count(_kind(machine)), default=None)


def _kind(machine: dict[str, Any]) -> tuple[str, str]:
    return machine["processor"], machine["event_path"]


# --- sections -------------------------------------------------------------------------------------------------------
