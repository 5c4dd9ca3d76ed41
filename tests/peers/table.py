"""The table of docs/peers.md: every network of docs/networks.txt, exported and proved, or refused with the line.

    python -m tests.peers.table                     # all of it, an hour or two
    python -m tests.peers.table norse/LIFCell ...   # some

Results are kept in docs/networks.json, network by network, and the page is made of that file; what is not in it stands as
"not run".

Each network is made, exported and proved in a process of its own. The oracle is the network's own forward, in its own library:
from reset and from a second call when it is read, then in the gate (docs/numerics.md) from random states that are not zero, with
states set equal after every step ("differ") and free-running.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

from tests.peers import listed, make

PAGE = Path(__file__).parents[2] / "docs" / "peers.md"
RECORD = PAGE.with_name("networks.json")
BEGIN, END = "<!-- table: python -m tests.peers.table -->", "<!-- end of the table -->"
HEADER = "| network | engines | neuron-steps | excused | free-running |"
SECONDS = 900


def exported(library: str, name: str) -> dict[str, Any]:
    """What became of one network: a row."""
    import numpy as np

    import plif_export
    from runtime.core.base.errors import PlifError

    peer = make(library, name)
    row: dict[str, Any] = {"lines": peer.lines, "refused": None, "engines": []}
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.onnx"
        try:
            result = plif_export.export(peer.model, path, peer.example, **peer.options)
        except PlifError as error:
            made = str(Path(peer.model).parent) if isinstance(peer.model, str | Path) else folder
            return {**row, "refused": str(error).replace(f"{made}/", "").strip()}
        report = result.verify
        assert report is not None
        card = json.loads((path.with_name(path.name + ".report.json")).read_text())["card"]
        neurons = sum(int(np.prod(state["shape"])) for state in card["states"] if state["variable"] == "v")
        row |= {
            "neuron_steps": report.probed + report.steps * report.streams * neurons,
            "differ": report.spike_mismatches - report.excused,
            "excused": report.excused,
            "free_running": report.free_running_mismatches,
            "untested": report.untested,
            "engines": [engine for engine in ("event", "onnxruntime") if _opens(path, engine)],
        }
    return row


def _opens(path: Path, engine: str) -> bool:
    import runtime

    try:
        runtime.load(path, engine).session(1)
    except runtime.PlifError:
        return False
    return True


def judged(library: str, name: str) -> dict[str, Any]:
    """`exported` in a process of its own; what ends that process is the row's refusal."""
    command = [sys.executable, "-W", "ignore", "-m", "tests.peers.table", "--child", f"{library}/{name}"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS, check=False)
    except subprocess.TimeoutExpired:
        return {"lines": 1, "refused": f"not done after {SECONDS} s", "engines": []}
    if done.returncode != 0:
        last = (done.stderr.strip().splitlines() or ["it ended without a word"])[-1]
        return {"lines": 1, "refused": f"ERROR {last}", "engines": []}
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def line(name: str, row: dict[str, Any]) -> str:
    """Return the line of an exported network."""
    engines = ("none", {"event": "event"}.get("".join(row["engines"]), "ORT"), "both")[len(row["engines"])]
    differ = f"{row['differ']} differ, " if row["differ"] else ""
    return f"| {name} | {engines} | {row['neuron_steps']:,} | {differ}{row['excused']} | {row['free_running']:,} |"


def table(rows: dict[str, dict[str, Any]]) -> str:
    """Return the tables as Markdown: the sums, the exported networks of each library, the refused ones, those not run."""
    names = [(library, name) for library, _, name in listed()]
    known = {(library, name): rows[f"{library}/{name}"] for library, name in names if f"{library}/{name}" in rows}
    exports = {pair: row for pair, row in known.items() if row["refused"] is None}
    steps, differ, excused, free = (
        sum(row[key] for row in exports.values()) for key in ("neuron_steps", "differ", "excused", "free_running")
    )
    lines = [
        f"{len(exports)} of {len(known)} networks are exported ({len(names)} are listed). Over {steps:,} neuron-steps from "
        f"random states, {differ} spikes differ with states set equal ({excused} excused), {free:,} free-running."
    ]
    for library in dict.fromkeys(library for library, _ in exports):
        lines += ["", f"### {library}", "", HEADER, "|---|---|---|---|---|"]
        lines += [line(name, row) for (owner, name), row in exports.items() if owner == library]
    lines += ["", "### Refused", "", "| network | message |", "|---|---|"]
    for (library, name), row in known.items():
        if row["refused"] is not None:
            lines.append(f"| {name} ({library}) | {row['refused'].replace('|', '/')} |")
    silent = [f"{name} ({', '.join(row['untested'])})" for (_, name), row in exports.items() if row["untested"]]
    longer = [name for (_, name), row in exports.items() if row["lines"] > 1]
    unknown = [name for library, name in names if (library, name) not in known]
    lines += ["", "### Notes", "", f"- Layers that never spiked, so not tested: {', '.join(silent)}."]
    lines += [f"- Two lines to write, not one: {', '.join(longer)}.", f"- Not run: {', '.join(unknown)}."]
    return "\n".join(lines)


def main(arguments: list[str]) -> None:
    if arguments[:1] == ["--child"]:
        print(json.dumps(exported(*arguments[1].split("/"))))
        return
    rows = json.loads(RECORD.read_text())
    chosen = [(library, name) for library, _, name in listed() if not arguments or f"{library}/{name}" in arguments]
    for i, (library, name) in enumerate(chosen):
        row = judged(library, name)
        rows = {**json.loads(RECORD.read_text()), f"{library}/{name}": row}  # another call may have added to it
        print(f"{i + 1}/{len(chosen)} {library}/{name}: {row['refused'] or 'exported'}", file=sys.stderr, flush=True)
        RECORD.write_text(json.dumps(rows, indent=1, sort_keys=True) + "\n")
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    PAGE.write_text(f"{before}{BEGIN}\n\n{table(rows)}\n\n{END}{after}")


if __name__ == "__main__":
    main(sys.argv[1:])
