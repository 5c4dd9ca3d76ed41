"""Compares two checkouts of plif on the same input: artifacts, cards, spikes, decisions, JSON and exit codes.

    python bench/same.py run .venv/bin/plif before/       # in the old checkout
    python bench/same.py run .venv/bin/plif after/        # in the new one
    python bench/same.py compare before after             # exit 1 and a list where they differ

For changes that must not alter what a user sees. Times, versions and commands are not compared; keys that only the newer side
has are listed and not counted. `--clips` and `--foreign` name folders of recordings and of SpikingJelly state_dicts to include;
`--replay` names an artifact and the folder that `plif stream --record` wrote with it, which both sides replay.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import subprocess
from pathlib import Path

TIMES = {
    "latency_ms", "lag_ms", "seconds", "throughput_per_s", "versions", "command", "started", "plif", "waiting_most",
    "p50_ms", "p99_ms", "steps_per_s", "after_silence_p50_ms", "rss_mb", "engine_reason", "sha256", "bytes",
}  # fmt: skip
MODELS = Path(__file__).parent.parent / "models"
GESTURE_SJ = "{c32k3s1-BN-IF-c32k2s2-BN-IF}*5-DP-FC128-IF-DP-FC110-IF-APk10s10"


def cases(
    folder: Path, clips: Path | None, foreign: Path | None, replay: list[str] | None
) -> list[tuple[str, list[str]]]:
    """(name, arguments) of each call, in order: a later call may read what an earlier one wrote."""
    gesture, digits = str(MODELS / "gesture-sim.pt"), str(MODELS / "nmnist-digits.pt")
    made = []
    for stem, model in (("gesture", gesture), ("digits", digits)):
        for name, options in {
            "step": [],
            "exact": ["--math", "exact"],
            "unrolled": ["--form", "unrolled", "--T", "8"],
            "fp16": ["--half"],
            "int8": ["--int8"],
            "batch": ["--batch", "3"],
        }.items():
            made.append((f"export-{stem}-{name}", ["export", model, "-o", f"{folder}/{stem}-{name}.onnx", *options]))
        for to, suffix in (("openvino", "_openvino"), ("triton", "_triton")):
            made.append((f"export-{stem}-{to}", ["export", model, "-o", f"{folder}/{stem}{suffix}", "--to", to]))
        made.append((f"check-{stem}", ["check", model]))
        made.append((f"info-{stem}", ["info", model]))
        for name in ("step", "unrolled", "int8"):
            made.append((f"info-{stem}-{name}", ["info", f"{folder}/{stem}-{name}.onnx"]))
            made.append((f"verify-{stem}-{name}", ["verify", f"{folder}/{stem}-{name}.onnx", "--against", model]))
    made.append(("verify-event", ["verify", f"{folder}/gesture-step.onnx", "--against", gesture, "--engine", "event"]))
    made.append(("verify-other", ["verify", f"{folder}/gesture-step.onnx", "--against", digits]))
    for engine in ("event", "onnxruntime"):
        live = ["stream", f"{folder}/gesture-step.onnx", "sim:dvs128-gesture?seed=3&seconds=4", "--engine", engine]
        made.append((f"stream-sim-{engine}", live))
        for name, options in {
            "leak": ["--decide", "leak:120ms,margin=0.2", "--reset", "silence:200"],
            "kofn": ["--decide", "kofn:3/5,margin=0.1,idle=2k", "--reset", "every:8/2"],
            "decay": ["--decide", "sum", "--reset", "decay:100ms", "--filter", "hot,background:5ms"],
            "duration": ["--framing", "duration:10ms", "--decide", "leak,margin=0.1,release=0.05"],
        }.items():
            for clip in sorted(clips.glob("*"))[:2] if clips else []:
                call = ["stream", f"{folder}/gesture-step.onnx", str(clip), "--engine", engine, *options]
                made.append((f"stream-{clip.stem}-{name}-{engine}", call))
        for clip in sorted(clips.glob("*")) if clips else []:
            call = ["stream", f"{folder}/gesture-step.onnx", str(clip), "--engine", engine]
            made.append((f"stream-{clip.stem}-{engine}", call))
    if clips:
        pair = [str(clip) for clip in sorted(clips.glob("*"))[:2]]
        made.append(("stream-two", ["stream", f"{folder}/gesture-step.onnx", *pair, "--engine", "event"]))
    for stem in ("step", "unrolled", "int8"):
        data = ["--data", "digits:60", "--out", f"{folder}/eval-{stem}"]
        made.append((f"eval-digits-{stem}", ["eval", f"{folder}/digits-{stem}.onnx", *data]))
    for engine in ("event", "onnxruntime") if replay else ():
        made.append((f"replay-{engine}", ["stream", *(replay or ()), "--engine", engine]))
    for path in sorted(foreign.glob("*gesture*")) if foreign else []:
        call = ["export", str(path), "--network", GESTURE_SJ, "-o", f"{folder}/sj.onnx", "--framing", "count:T=16"]
        made.append(("export-sj", call))
        made.append(
            ("export-sj-nir", ["export", str(path), "--network", GESTURE_SJ, "-o", f"{folder}/sj.nir", "--to", "nir"])
        )
    for name, wrong in {
        "missing": ["info", "nothing.onnx"],
        "framing": ["stream", f"{folder}/gesture-step.onnx", "sim:dvs128-gesture", "--framing", "count:T=8"],
        "decide": ["stream", f"{folder}/gesture-step.onnx", "sim:dvs128-gesture", "--decide", "best"],
        "reset": ["stream", f"{folder}/gesture-step.onnx", "sim:dvs128-gesture", "--reset", "sometimes"],
        "unrolled": ["stream", f"{folder}/gesture-unrolled.onnx", "sim:dvs128-gesture"],
        "engine": ["stream", f"{folder}/gesture-step.onnx", "sim:dvs128-gesture", "--engine", "nobody"],
        "option": ["stream", "--nothing"],
        "data": ["eval", f"{folder}/gesture-step.onnx", "--data", "nothing:here"],
        "target": ["export", gesture, "--to", "paper"],
        "network": ["train", "c2k3-PLOF", "--data", "nmnist:here"],
    }.items():
        made.append((f"wrong-{name}", wrong))
    return made


def run(plif: str, folder: Path, options: argparse.Namespace) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    found = {}
    for name, arguments in cases(folder, options.clips, options.foreign, options.replay):
        done = subprocess.run([plif, *arguments, "--json"], capture_output=True, text=True, timeout=600)
        lines = [json.loads(line) for line in done.stdout.splitlines()] if arguments[0] == "stream" else None
        if lines is None:
            lines = [json.loads(done.stdout)] if done.stdout else []
        found[name] = {"exit": done.returncode, "stdout": lines, "stderr": done.stderr.splitlines()}
        print(f"{name}: exit {done.returncode}", flush=True)
    found["files"] = {"exit": 0, "stdout": [_files(folder)], "stderr": []}
    (folder / "same.json").write_text(json.dumps(found, indent=1))


def _files(folder: Path) -> dict[str, object]:
    """{artifact: its card as JSON, and the SHA-256 of the file without the card}."""
    import onnx

    found: dict[str, object] = {}
    for path in sorted(p for p in folder.rglob("*") if p.is_file() and p.name != "same.json"):
        name = str(path.relative_to(folder))
        if path.suffix == ".onnx":
            model = onnx.load(path)
            cards = {prop.key: prop.value for prop in model.metadata_props}
            del model.metadata_props[:]
            model.producer_version = ""
            card = {k: json.loads(v) if v.startswith(("{", "[")) else v for k, v in cards.items()}
            found[name] = {
                "card": card,
                "file": hashlib.sha256(model.SerializeToString(deterministic=True)).hexdigest(),
            }
        elif path.suffix == ".json":
            found[name] = json.loads(path.read_text())
        elif path.suffix in (".bin", ".pbtxt", ".py", ".npz"):
            found[name] = hashlib.sha256(path.read_bytes()).hexdigest()
        elif path.suffix == ".nir":
            found[name] = _hdf5(path)
    return found


def _hdf5(path: Path) -> dict[str, str]:
    import h5py

    values: dict[str, str] = {}

    def visit(name: str, node: object) -> None:
        if isinstance(node, h5py.Dataset) and "card" not in name and "metadata" not in name:
            value = node[()]
            values[name] = hashlib.sha256(value.tobytes() if hasattr(value, "tobytes") else value).hexdigest()

    with h5py.File(path) as file:
        file.visititems(visit)
    return values


def differences(old: object, new: object, where: str, added: list[str]) -> list[str]:
    if isinstance(old, dict) and isinstance(new, dict):
        added += [f"{where}.{key}" for key in new.keys() - old.keys() - TIMES]
        found = []
        for key, value in old.items():
            if key in TIMES:
                continue
            if key not in new:
                found.append(f"{where}.{key}: is gone")
            else:
                found += differences(value, new[key], f"{where}.{key}", added)
        return found
    if isinstance(old, list) and isinstance(new, list):
        if len(old) != len(new):
            return [f"{where}: {len(old)} entries, now {len(new)}"]
        pairs = enumerate(zip(old, new, strict=True))
        return [line for i, (a, b) in pairs for line in differences(a, b, f"{where}[{i}]", added)]
    return [] if old == new else [f"{where}: {str(old)[:100]!r}, now {str(new)[:100]!r}"]


def compare(before: Path, after: Path) -> int:
    text = [(folder / "same.json").read_text().replace(f"{folder}", "FOLDER") for folder in (before, after)]
    old, new = (json.loads(one) for one in text)
    added: list[str] = []
    found, said = [], []
    for name in old:
        for part in ("exit", "stdout"):
            found += differences(old[name][part], new.get(name, {}).get(part), f"{name}.{part}", added)
        said += differences(old[name]["stderr"], new.get(name, {}).get("stderr"), f"{name}.stderr", added)
    print(
        f"{len(old)} calls; {len(found)} differences; {len(said)} messages in other words; new keys: {sorted(set(added))[:20]}"
    )
    print("\n".join(found[:200]))
    print("\n".join(f"(message) {line}" for line in said[:60]))
    return 1 if found else 0


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    verbs = parser.add_subparsers(dest="verb", required=True)
    runs = verbs.add_parser("run")
    runs.add_argument("plif")
    runs.add_argument("folder", type=Path)
    runs.add_argument("--clips", type=Path)
    runs.add_argument("--foreign", type=Path)
    runs.add_argument("--replay", nargs=2, metavar=("ARTIFACT", "FOLDER"))
    compares = verbs.add_parser("compare")
    compares.add_argument("before", type=Path)
    compares.add_argument("after", type=Path)
    options = parser.parse_args()
    if options.verb == "compare":
        return compare(options.before, options.after)
    run(options.plif, options.folder, options)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
