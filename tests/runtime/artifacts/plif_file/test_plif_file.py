"""A .plif file holds what the event engine computes, to the bit, on every CPU path; and no file can make it do harm."""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import runtime
from plif_export import export, verify
from runtime import native
from runtime.artifacts.plif_file import file as plif_file
from runtime.artifacts.plif_file.program import flip_pairs, from_nibbles, read_plif
from runtime.core.base.errors import PlifError
from runtime.core.model.card import read_card
from runtime.core.model.grids import GRIDS
from runtime.engines.event_program.layout import allocate_aligned
from tests.networks import digits_network, firing, frames
from tests.plif_export.core.attacks.artifacts import write_plif

pytestmark = pytest.mark.skipif(
    not native.is_built(), reason="the native library is not built here: it needs a C compiler"
)

PATHS = native.cpu_paths() if native.is_built() else ()
SKIP_DIGEST = 1  # plif.h
# Every kind of operation, and maps whose rows are multiplied as bytes where the processor can.
NETWORKS = {
    "digits": ("{c32k3s1-BN-PLIF-MPk2s2}*2-DP-FC40-PLIF-DP-FC30-PLIF-APk10s10", (2, 34, 34)),
    "odd": ("BN-c8k3s1-BN-IF-APk3s2-c70k3s1-LIF-APk2s2-FC150-PLIF-FC30-PLIF-APk10s10", (2, 16, 16)),
}


@pytest.fixture(scope="module")
def digits_plif(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return export(digits_network(), tmp_path_factory.mktemp("plif") / "m.plif", to="plif").path


@pytest.mark.one_in(2)
@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("name", NETWORKS)
def test_the_file_and_the_onnx_form_give_the_same_bits_on_every_path(
    name: str, precision: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    notation, shape = NETWORKS[name]
    net = firing(notation, shape)
    flat = export(net, tmp_path / "m.plif", to="plif", precision=precision)
    assert flat.passed, flat.verify
    onnx = export(net, tmp_path / "m.onnx", precision=precision, verify=False).path
    x = frames(net, np.random.default_rng(5), T=12, streams=2)
    for path in PATHS:
        monkeypatch.setenv("PLIF_CPU", path)
        for threads in (1, 2):
            one, other = (
                runtime.load(file, "event", threads=threads, rates=True).session(2) for file in (flat.path, onnx)
            )
            for x_t in x:
                assert one.step(x_t).tobytes() == other.step(x_t).tobytes()
                assert one.rates == other.rates
            assert all(v.tobytes() == other.state[k].tobytes() for k, v in one.state.items())
            assert any(v.any() for v in one.state.values())


# Channels for pairs of bytes, int16 and rows of 4 bits; averages that are summed as floats; rows multiplied as bytes.
PACKED = "c8k3s1-BN-PLIF-APk2s2-c70k3s1-PLIF-c24k3s1-LIF-MPk2s2-FC128-PLIF-FC30-PLIF-APk10s10"


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, tuple[Path, Path]]:
    """{precision: (.plif, .onnx)}"""
    folder, net = tmp_path_factory.mktemp("packed"), firing(PACKED, (2, 20, 16))
    return {
        p: tuple(export(net, folder / f"{p}.{to}", to=to, precision=p, verify=False).path for to in ("plif", "onnx"))
        for p in GRIDS
    }  # type: ignore[misc]


@pytest.mark.parametrize("precision", GRIDS)
def test_packed_weights_are_the_same_bits_on_every_path(
    packed: dict[str, tuple[Path, Path]], precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    net = firing(PACKED, (2, 20, 16))
    x = frames(net, np.random.default_rng(5), T=5, streams=2)
    for path in PATHS:
        monkeypatch.setenv("PLIF_CPU", path)
        one, other = (runtime.load(file, "event", threads=1).session(2) for file in packed[precision])
        assert all(one.step(x_t).tobytes() == other.step(x_t).tobytes() for x_t in x)
        assert all(v.tobytes() == other.state[k].tobytes() for k, v in one.state.items())


def test_fewer_bits_are_a_smaller_file_and_every_array_is_read_as_it_was_before_it_was_packed(
    packed: dict[str, tuple[Path, Path]],
) -> None:
    sizes = {}
    for precision, (path, _) in packed.items():
        sections, _ = plif_file.split_file(path, path.read_bytes())
        sizes[precision] = len(sections["weights"])
        bits = {bits for *_, bits in plif_file.ARRAY.iter_unpack(sections["arrays"])}
        assert bits == {0, GRIDS[precision].bits % 8}
        weights = [
            (operation, read_plif(path).arrays[operation["weight"] - 1])
            for operation in read_plif(path).programs[0].operations
            if operation["weight"] and operation["sums"]
        ]
        assert len(weights) == 4
        for operation, array in weights:
            whole = {4: from_nibbles, 1: flip_pairs}.get(operation["pairs"], np.array)(array)
            assert np.abs(whole.astype(int)).max() == GRIDS[precision].max_level
    assert sizes["int4"] < 0.65 * sizes["int8"] and sizes["ternary"] < 0.65 * sizes["int4"]


@pytest.mark.parametrize("precision", ("int4", "ternary"))
def test_one_packed_weight_that_is_another_is_noticed(
    packed: dict[str, tuple[Path, Path]], precision: str, tmp_path: Path
) -> None:
    path = tmp_path / "net.plif"
    path.write_bytes(packed[precision][0].read_bytes())
    sections, facts = plif_file.split_file(path, path.read_bytes())
    at = next(at for at, _, _, bits in plif_file.ARRAY.iter_unpack(sections["arrays"]) if bits)
    weights = bytearray(sections["weights"])
    weights[at] ^= 1
    write_plif(path, {**sections, "weights": bytes(weights)}, facts)
    report = verify(path, firing(PACKED, (2, 20, 16)), steps=4)
    assert not report.passed and report.failed_at is not None and "weights" in report.failed_at["what"]


def test_arrays_that_are_packed_in_no_known_way_are_refused(
    packed: dict[str, tuple[Path, Path]], tmp_path: Path
) -> None:
    data = packed["int4"][0].read_bytes()
    table, size = plif_file.HEADER.unpack(data[: plif_file.HEADER.size])[14:16]
    last = table + size - plif_file.ARRAY.size
    for number, (kind, bits) in enumerate(((1, 3), (3, 4), (7, 4), (1, -4), (1, 1 << 30))):
        forged = data[: last + 16] + struct.pack("<2i", kind, bits) + data[last + 24 :]
        said = opened(forged)
        assert said is not None and f"of type {kind} in {bits} bits" in said
        path = tmp_path / f"{number}.plif"
        path.write_bytes(sealed(forged))
        with pytest.raises(PlifError, match=rf"type {kind}, {bits} bits"):
            read_plif(path)
    said = opened(data[:8] + struct.pack("<I", 6) + data[12:])
    assert said is not None and "version 6 of .plif files, and this library reads 5" in said


def test_the_runtime_takes_it_like_any_artifact(digits_plif: Path) -> None:
    model = runtime.load(digits_plif)
    assert model.engine.name == "event" and model.card["target"] == "plif"
    decisions = list(model.stream("sim:digits?seed=3&seconds=1", decide="sum"))
    assert len(decisions) > 40 and any(d.label for d in decisions)
    assert verify(digits_plif, digits_network()).passed


def test_a_file_says_the_facts_of_its_card_and_a_program_for_each_path(digits_plif: Path) -> None:
    file, card = read_plif(digits_plif), read_card(digits_plif)
    assert list(file.facts.classes) == card["classes"] and file.facts.framing == card["framing"]
    assert [state.name for state in file.facts.states] == [state["name"] for state in card["states"]]
    assert [native.PATHS[program.path] for program in file.programs] == list(native.PATHS)
    assert all(program.operations for program in file.programs)


def opened(data: bytes, flags: int = SKIP_DIGEST) -> str | None:
    """What C says of the bytes of a file, for the plain path; None where it opens them."""
    library = native.library()
    at = allocate_aligned((max(1, len(data)),), np.uint8)
    at[: len(data)] = np.frombuffer(data, np.uint8)
    model = library.plif_open_for(at.ctypes.data, len(data), flags, 0)
    if not model:
        return str(library.plif_error_text().decode())
    library.plif_close(model)
    return None


def test_a_changed_byte_anywhere_is_found(digits_plif: Path, tmp_path: Path) -> None:
    data = bytearray(digits_plif.read_bytes())
    assert opened(bytes(data), flags=0) is None
    for at in np.random.default_rng(0).integers(256, len(data), 40):
        changed = bytes(data[:at]) + bytes([data[at] ^ 1]) + bytes(data[at + 1 :])
        why = opened(changed, flags=0)
        assert why is not None and "SHA-256" in why
    whole = tmp_path / "changed.plif"
    whole.write_bytes(changed)
    with pytest.raises(PlifError, match=r"changed since the export|damaged|card is not valid"):
        runtime.load(whole)


def sealed(data: bytes) -> bytes:
    """The bytes with the SHA-256 that fits them: whoever forges a file writes that, too."""
    digest = hashlib.sha256(data[: plif_file.SHA256_AT] + data[plif_file.HEADER.size :]).digest()
    return data[: plif_file.SHA256_AT] + digest + data[plif_file.HEADER.size :]


def test_facts_that_differ_from_the_card_are_refused(digits_plif: Path, tmp_path: Path) -> None:
    data = bytearray(digits_plif.read_bytes())
    at = data.index(b"duration:20ms\x00")
    data[at : at + 13] = b"duration:30ms"
    forged = tmp_path / "forged.plif"
    forged.write_bytes(sealed(bytes(data)))
    with pytest.raises(PlifError, match="facts was changed since the export"):
        runtime.load(forged)


def test_names_that_do_not_end_or_are_not_as_many_as_the_facts_say_are_refused(digits_plif: Path) -> None:
    data = digits_plif.read_bytes()
    head = plif_file.HEADER.unpack(data[: plif_file.HEADER.size])
    start, size = head[6:8]  # of the strings, the second section
    end = start + size - 1
    for at, byte, why in (
        (end, b"x", "its names do not end"),
        (start + 3, b"\0", "more names than classes and states"),
        (data.index(b"\0", start), b"x", "names; expected"),
    ):
        said = opened(data[:at] + byte + data[at + 1 :])
        assert said is not None and why in said


LIES = (0, 1, -1, 2, 7, 63, 64, 255, 65535, 1 << 20, (1 << 31) - 1, -(1 << 31), (1 << 40), (1 << 63) - 1, -(1 << 63))


def lies(data: bytes, seed: int, count: int) -> Iterator[bytes]:
    """Files that differ from a good one in one place that says something: a number of the header or of a record."""
    rng = np.random.default_rng(seed)
    head = plif_file.HEADER.unpack(data[: plif_file.HEADER.size])
    sections = dict(zip(plif_file.SECTIONS, zip(head[4:18:2], head[5:18:2], strict=True), strict=True))
    places = [(at, 4) for at in range(8, 224, 4)] + [(at, 8) for at in range(16, 136, 8)]
    for name in ("states", "programs", "operations", "arrays"):
        start, size = sections[name]
        if name == "operations":  # of the first program alone, which is the one that is opened
            size = plif_file.PROGRAM.unpack_from(data, sections["programs"][0])[1] * plif_file.OPERATION.size
        places += [(at, 4) for at in range(start, start + size, 4)] + [
            (at, 8) for at in range(start, start + size - 7, 8)
        ]
    for _ in range(count):
        at, size = places[rng.integers(len(places))]
        lie = int(LIES[rng.integers(len(LIES))])
        old = int.from_bytes(data[at : at + size], "little", signed=True)
        value = lie if rng.random() < 0.6 else old + int(rng.integers(-2, 3)) * int(rng.choice([1, 64, 4096]))
        yield data[:at] + struct.pack("<q", (value + (1 << 63)) % (1 << 64) - (1 << 63))[:size] + data[at + size :]


@pytest.mark.parametrize("seed", range(3))
def test_files_that_lie_are_refused_or_harmless(
    digits_plif: Path, packed: dict[str, tuple[Path, Path]], seed: int
) -> None:
    data = (packed["ternary"][0] if seed == 2 else digits_plif).read_bytes()
    found = [opened(lie) for lie in lies(data, seed, 400)]
    assert sum(why is not None for why in found) > 180
    for cut in np.random.default_rng(seed).integers(0, len(data), 40):
        assert opened(data[:cut]) is not None
