"""Compares two checkouts of plif on the same input: artifacts, cards, spikes, decisions, JSON and exit codes.

    python bench/same.py run .venv/bin/plif before/       # in the old checkout
    python bench/same.py run .venv/bin/plif after/        # in the new one
    python bench/same.py compare before after             # exit 1 and a list where they differ

For changes that must not alter what a user sees. Times, versions and commands are not compared; keys that only the newer side
has are listed and not counted. `--clips` and `--foreign` name folders of recordings and of SpikingJelly state_dicts to include;
`--replay` names an artifact and the folder that `plif stream --record` wrote with it, which both sides replay. With `--clips`
every framing, filter and reset is streamed, a stream is recorded and replayed, cut in two by --state, pushed from Python,
predicted as a folder, and framed into the cache of a training. `--only WORD` runs the calls whose names hold that word.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import re
import subprocess
from pathlib import Path

TIMES = {
    "latency_ms", "lag_ms", "latency", "seconds", "throughput_per_s", "versions", "command", "started", "plif", "waiting_most",
    "p50_ms", "p99_ms", "steps_per_s", "after_silence_p50_ms", "rss_mb", "engine_reason", "sha256", "bytes",
}  # fmt: skip
TIMED = ("latency", "timing", "trained")  # tables that hold times
MODELS = Path(__file__).parent.parent / "models"
GESTURE_SJ = "{c32k3s1-BN-IF-c32k2s2-BN-IF}*5-DP-FC128-IF-DP-FC110-IF-APk10s10"


FRAMINGS = (
    *("count:T=8", "time:T=8", "count:T=8,value=binary", "duration:10ms,T=30,pad=zero", "duration:10ms,T=200"),
    *(
        "duration:40ms,every=10ms",
        "duration:20ms,every=10ms,value=binary",
        "events:n=2000,max=15ms",
        "events:n=300,max=1s",
    ),
    *("duration:7ms,polarity=swapped,resize=crop", "duration:9ms,orientation=paper", "duration:9ms,orientation=sj"),
    *("duration:9ms,value=binary", "duration:9ms,value=binary,resize=sum", "duration:9ms,resize=nearest,shape=square"),
)
FILTERS = (
    "hot",
    "refractory:1ms",
    "background:5ms",
    "roi:square",
    "roi:9:9:70:60",
    "down:2",
    "flip:x",
    "rotate:90",
    "swap",
)
RESETS = ("never", "every:8", "every:9/3", "silence:30", "decay:20ms", "recording")
RULES = (
    "sum,margin=0.3,release=0.1",
    "kofn:2/4,release=1",
    "own,idle=auto",
    "leak:60ms,idle=40k",
    "sum,exit=0.05",
    "cusum",
)
PUSH = """
import json, sys, numpy, runtime
from runtime.core.events import read_events
from runtime.sources.push import PushSource
model, source = runtime.load(sys.argv[1]), PushSource(128, 128)
events = read_events(sys.argv[2], (128, 128))
for part in numpy.array_split(events, 37):
    source.push(part)
source.end()
run = model.stream(source, framing="duration:10ms")
list(run)  # how many decisions depends on how quick the machine is; what becomes of the events does not
print(json.dumps({name: n for name, n in run.summary().items() if name.startswith("events_")}))
"""


def rules_of_streams(folder: Path, clip: Path) -> list[tuple[str, list[str]]]:
    """Every framing, filter, reset and rule on one recording; a state, a recording of the stream, events from Python."""
    live = ["stream", f"{folder}/gesture-step.onnx", str(clip)]
    stored = ["stream", f"{folder}/digits-step.onnx", str(clip)]  # a network that asks for no view
    made = [(f"framing-{one}", [*(stored if "orientation" in one else live), "--framing", one]) for one in FRAMINGS]
    made += [(f"filter-{one}", [*live, "--filter", one, "--framing", "duration:10ms"]) for one in FILTERS]
    made += [(f"reset-{one}", [*live, "--reset", one, "--framing", "duration:10ms"]) for one in RESETS]
    made += [(f"decide-{one}", [*live, "--decide", one, "--framing", "duration:10ms"]) for one in RULES]
    seconds = "sim:dvs128-gesture?seed={}&seconds=1"
    kept = ["--state", f"{folder}/kept.npz", "--decide", "own,idle=auto", "--filter", "hot", "--reset", "silence:50"]
    made += [(f"state-{seed}", ["stream", live[1], seconds.format(seed), *kept]) for seed in (1, 2)]
    made.append(("record", [*live, "--record", f"{folder}/recorded", "--framing", "duration:10ms"]))
    made.append(("replayed", ["stream", live[1], f"{folder}/recorded"]))
    made.append(("push", ["python", "-c", PUSH, live[1], str(clip)]))
    made.append(("predict", ["predict", live[1], str(clip.parent), "--out", f"{folder}/predictions.csv"]))
    training = ["--set", "framing=duration:40ms,T=8,value=binary", "--T", "8", "--epochs", "1", "--seed", "1"]
    data = ["--data", f"folder:{folder}/set", "--cache", f"{folder}/cache", "--out", f"{folder}/trained.pt"]
    made.append(("train", ["train", "c2k5s8-BN-PLIF-FC60-PLIF-APk10s10", *data, *training]))
    return made


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
        for to, suffix in (("openvino", "_openvino"), ("triton", "_triton"), ("plif", ".plif"), ("c", ".c")):
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
        made += rules_of_streams(folder, sorted(clips.glob("*"))[1])
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
    (folder / "set").mkdir(exist_ok=True)
    (folder / "set" / "sensor.txt").write_text("128x128")
    for clip in sorted(options.clips.glob("*")) if options.clips else ():
        for split in ("train", "test"):
            place = folder / "set" / split / clip.stem
            place.mkdir(parents=True, exist_ok=True)
            (place / clip.name).symlink_to(clip.resolve())
    for name, arguments in cases(folder, options.clips, options.foreign, options.replay):
        if options.only and options.only not in name and not re.fullmatch("export-.*-step", name):
            continue
        python = arguments[0] == "python"
        command = [str(Path(plif).with_name("python")), *arguments[1:]] if python else [plif, *arguments, "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600)
        lines = None
        if python or arguments[0] == "stream":
            lines = [json.loads(line) for line in done.stdout.splitlines()]
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
        elif path.suffix in (".bin", ".pbtxt", ".py", ".xml", ".aedat", ".npy", ".csv") and path.stem not in TIMED:
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
    runs.add_argument("--only")
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
