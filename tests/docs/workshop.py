"""A folder with the files that the documented commands speak of (model.pt, recording.raw, DIR, ...), all of them small."""

from __future__ import annotations

import shutil
from pathlib import Path

import plif_export
import plif_train
from runtime.core.events import write_nmnist
from runtime.datasets.dvs128_gesture.set import CLASSES
from tests.code import MY_MODULE
from tests.networks import firing
from tests.recordings import aedat2_bytes, evt3_bytes, some_events
from tests.runtime.datasets.motion.motions import bvh, waving, write_collection

DIGITS = tuple("0123456789")


def fill(folder: Path) -> None:
    """Writes the files: networks with random weights that fire, and recordings of noise."""
    model = folder / "model.pt"
    (folder / "models").mkdir()
    network = "c4k3s2-BN-PLIF-DP-FC100-PLIF-APk10s10"
    plif_train.save(firing(network, (2, 34, 34), T=4, classes=DIGITS, framing="count:T=4"), model)
    for name, binary in (
        ("gesture-sim", "duration:40ms,value=binary"),
        ("gesture", "duration:40ms,every=20ms,value=binary"),
        ("gesture-people", "duration:40ms,every=20ms,value=binary"),
    ):
        net = firing("c4k8s8-BN-PLIF-FC110-PLIF-APk10s10", (2, 128, 128), classes=CLASSES, framing=binary)
        plif_train.save(net, folder / "models" / f"{name}.pt")
    shutil.copy(model, folder / "models" / "nmnist-digits.pt")
    plif_export.export(model, folder / "model.onnx")
    plif_export.export(model, folder / "model_int8.onnx", precision="int8")
    (folder / "demo").mkdir()
    for name in ("digits.onnx", "demo/nmnist-digits.onnx"):
        shutil.copy(folder / "model.onnx", folder / name)
    shutil.copy(folder / "model_int8.onnx", folder / "digits_int8.onnx")

    for number, place in enumerate(f"DIR/{split}/{digit}" for split in ("Train", "Test") for digit in DIGITS):
        (folder / place).mkdir(parents=True)
        write_nmnist(folder / place / "1.bin", some_events(300, seed=number))
    for name, classes in (("gestures", ("wave", "clap")), ("three", ("a", "b", "c")), ("mine", DIGITS)):
        for place in (f"{name}/{split}/{label}" for split in ("train", "test") for label in classes):
            (folder / place).mkdir(parents=True)
            write_nmnist(folder / place / "1.bin", some_events(300))
        (folder / name / "sensor.txt").write_text("34x34\n")
    for name in ("recordings", "FOLDER"):
        shutil.copytree(folder / "DIR" / "Test", folder / name)
    for name in ("recording.raw", "morning.raw", "noon.raw"):
        (folder / name).write_bytes(evt3_bytes(some_events(300)))
    for name in ("recording.bin", "demo/digit7.bin"):
        write_nmnist(folder / name, some_events(300))
    (folder / "recording.aedat").write_bytes(aedat2_bytes(some_events(300, width=128, height=128)))
    (folder / "motions" / "other_gestures").mkdir(parents=True)
    for name in ("walk.bvh", "motions/other_gestures/walk.bvh"):
        (folder / name).write_text(bvh(waving(30)))
    write_collection(folder / "motions.npz", ("1", "2"), waving(40))
    (folder / "my_module.py").write_text(MY_MODULE)
    (folder / "my.toml").write_text('network = "nmnist"\nepochs = 10\naugment = "none"\n')
    (folder / "train.log").write_text("epoch 1\n")
