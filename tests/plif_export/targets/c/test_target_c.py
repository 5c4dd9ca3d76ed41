"""--to c: the compiled program does what the model does, layer by layer; its sizes are told; what does not fit is refused."""

from __future__ import annotations

import json
import os
import platform
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest

from plif_export import export, verify
from plif_export.core.cards import make_card
from plif_export.core.passes import run_passes
from plif_export.core.proof.report import Report
from plif_export.core.prove import prove
from plif_export.core.readers import read_model
from plif_export.core.targets import find_target
from plif_export.core.targets.target import ExportJob
from plif_export.targets.c.compiled import CompiledProgram, find_compiler
from runtime.artifacts.c.source import read_texts
from runtime.core.base.errors import PlifError
from runtime.core.model.card import read_card
from runtime.core.model.grids import GRIDS
from runtime.native import is_built
from tests.networks import firing, frames
from tests.plif_export.core.test_random_networks import ALL, Case
from tests.random_networks import SEEDS, random_network
from tests.sanitizers import OPTIONS, find_sanitizers, needs_sanitizers

needs_compiler = pytest.mark.skipif(find_compiler() is None, reason="no C compiler (gcc, clang or cc)")
pytestmark = needs_compiler

MODELS = Path(__file__).parents[4] / "models"
STRICT = ("-Wall", "-Wextra", "-Wconversion", "-Werror")
QUICK = ("-O0",)  # the compiler's time is most of a test's


def compiled(path: Path, flags: tuple[str, ...] = ()) -> CompiledProgram:
    """A file of the test's own making, whatever stands in it."""
    return CompiledProgram(read_texts(path), read_card(path), find_compiler() or "", flags)


def sanitized(path: Path, flags: tuple[str, ...] = ()) -> CompiledProgram:
    """The same with sanitizers, which map more memory than what is proved may have, and read /proc."""

    def run(program: Path, request: bytes) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run([program], input=request, capture_output=True, env={**os.environ, **OPTIONS})

    found = find_sanitizers()
    assert found is not None
    return CompiledProgram(read_texts(path), read_card(path), found.compiler, (*found.flags, *flags), run)


def prove_case(
    case: Case, folder: Path, flags: tuple[str, ...] = (), make: Callable[..., CompiledProgram] = compiled
) -> Report:
    """The gate on the compiled program alone."""
    source = read_model(random_network(case.seed, case.hard, case.tau, T=case.T))
    graph = run_passes(source.graph, case.math, False, case.precision)
    card = make_card(
        source.facts, graph, form="step", T=case.T, precision=case.precision, math=case.math, batch=None,
        source_sha256=None,
    )  # fmt: skip
    target, path = find_target("c"), folder / "net.c"
    target.check(graph, card, {})
    target.write(ExportJob(graph, onnx.ModelProto(), card, name=path.name), path)
    program = make(path, flags)
    assert program.release.exists()  # as it is shipped, it compiles with these flags, too
    return prove(None, card, source, steps=case.T, opened=program)


def check_case(
    case: Case, folder: Path, flags: tuple[str, ...] = (), make: Callable[..., CompiledProgram] = compiled
) -> None:
    report = prove_case(case, folder, flags, make)
    assert report.passed, report.sentence()
    assert report.engine == "c" and report.engine_steps >= case.T
    assert report.spikes > 0 and report.spike_mismatches == report.excused


def sample() -> list[Case]:
    """Every network once, each option as often as its alternatives; a fourth of them always runs."""
    return [
        Case(seed, seed % 4 < 2, ("layer", "channel")[seed // 2 % 2], "step", 7, ("exact", "folded")[seed // 3 % 2],
             ("fp32", "fp32", "ternary", "int4", "int8")[seed % 5])
        for seed in range(SEEDS)
    ]  # fmt: skip


@pytest.mark.one_in(2)
@pytest.mark.parametrize("case", sample()[1::4], ids=str)
def test_random_networks_pass_the_gate_as_c(case: Case, tmp_path: Path) -> None:
    check_case(case, tmp_path, (*STRICT, *QUICK))


@pytest.mark.large
@pytest.mark.parametrize("case", [case for case in ALL if case.form == "step" and case.T < 64], ids=str)
@pytest.mark.parametrize("precision", ("fp32", *GRIDS))
def test_all_random_networks_pass_the_gate_as_c(case: Case, precision: str, tmp_path: Path) -> None:
    check_case(case._replace(precision=precision), tmp_path, STRICT)


@needs_sanitizers
@pytest.mark.parametrize("case", sample()[4:6], ids=str)
def test_sanitizers_find_nothing(case: Case, tmp_path: Path) -> None:
    check_case(case._replace(T=2), tmp_path, QUICK, sanitized)


@pytest.mark.large
@needs_sanitizers
@pytest.mark.parametrize("case", [case for case in ALL if case.form == "step" and case.T < 64], ids=str)
@pytest.mark.parametrize("precision", ("fp32", *GRIDS))
def test_sanitizers_find_nothing_in_any_network(case: Case, precision: str, tmp_path: Path) -> None:
    check_case(case._replace(precision=precision), tmp_path, (), sanitized)


@pytest.fixture(scope="module")
def shipped(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The digits network that ships, in int8, as C."""
    path = tmp_path_factory.mktemp("shipped") / "digits.c"
    return export(
        MODELS / "nmnist-digits.pt", path, to="c", precision="int8", flash="400K", ram="256K", verify=False
    ).path


def test_the_digits_network_fits_400_kB_of_flash_in_int8_and_says_what_each_layer_takes(shipped: Path) -> None:
    memory = json.loads(shipped.with_name("digits.c.report.json").read_text())["memory"]
    assert 250_000 < memory["flash"] <= 400_000 and memory["ram"] <= 256 * 1024
    layers = {layer["name"]: layer for layer in memory["layers"]}
    assert layers["fc1"]["flash"] > 260_000 and layers["conv1"]["ram"] > 180_000
    text = shipped.with_suffix(".h").read_text()
    assert f"DIGITS_BUFFER_BYTES {sum(layer['ram'] for layer in layers.values())}" in text
    assert "classes   10: 0, 1, 2" in text and "framing   count:T=10" in text
    assert "h = v * (1 - alpha) + x" in shipped.read_text() and "malloc" not in shipped.read_text()


@pytest.mark.large
def test_the_digits_network_keeps_every_spike(shipped: Path) -> None:
    """On this machine; tests/plif_export/targets/c/test_cortex_m.py asks the same of the emulated board."""
    report = verify(shipped, MODELS / "nmnist-digits.pt")
    assert report.passed and report.spikes > 1000 and report.spike_mismatches == report.excused


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small network, in int8, which the export proves."""
    made = export(firing(), tmp_path_factory.mktemp("small") / "net.c", to="c", precision="int8")
    assert made.passed and made.verify is not None and made.verify.engine == "c" and made.size is not None
    assert read_card(made.path)["parity"]["passed"]
    return made.path


@pytest.fixture(scope="module")
def small_float(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same in float32."""
    return export(firing(), tmp_path_factory.mktemp("small") / "net.c", to="c", verify=False).path


def test_the_written_file_is_proved_by_verify_and_its_card_is_read_without_torch(small: Path) -> None:
    report = verify(small, firing(), steps=3)
    assert report.spikes > 100 and report.spike_mismatches == report.excused
    assert report.passed and report.engine == "c" and report.digest is not None and not report.digest["changed"]
    assert [layer.name for layer in report.layers] == ["conv1", "conv2", "fc1", "fc2"]
    assert all(layer.rate > 0 for layer in report.layers)  # spikes are seen layer by layer, not only membranes
    card = read_card(small)
    assert card["target"] == "c" and card["precision"] == "int8"


def changed(path: Path, folder: Path, pattern: str, new: str, suffix: str = ".c") -> Path:
    """A copy of both files, in which the first text that fits the pattern is another."""
    for end in (".c", ".h"):
        text = path.with_suffix(end).read_text()
        if end == suffix:
            text, found = re.subn(pattern, new, text, count=1)
            assert found == 1
        (folder / f"net{end}").write_text(text)
    return folder / "net.c"


@pytest.mark.parametrize(
    ("layer", "pattern", "new"),
    [
        ("conv1", r"fires = h >= 1\.0f", "fires = h >= 1.001f"),
        ("conv2", r"conv2_v\[at\] = fires \? 0\.0f : h;", "conv2_v[at] = h;"),
        ("fc1", r"1\.0f - fc1_alpha", "1.0f - fc1_alpha * 1.01f"),
        ("conv2", r"(?s)(void run_conv2\(.*?)ix >= (\d+)", r"\1ix + 1 >= \2"),
        ("fc2", r"int8_t fc2_w\[\d+\] = \{\s", r"\g<0>1+"),
        ("output", r"vote_y\[o\] /= 10", "vote_y[o] /= 9"),
    ],
)
def test_a_wrong_line_of_c_fails_the_gate_at_its_layer(
    small: Path, tmp_path: Path, layer: str, pattern: str, new: str
) -> None:
    path = changed(small, tmp_path, pattern, new)
    report = prove(None, read_card(path), read_model(firing()), steps=3, opened=compiled(path, QUICK))
    assert not report.passed and report.failed_at is not None and report.failed_at["layer"] == layer


@pytest.mark.parametrize("precision", ("int4", "ternary"))
def test_packed_weights_are_two_or_four_in_a_byte_clean_and_a_changed_one_is_caught(
    precision: str, small: Path, tmp_path: Path
) -> None:
    path = export(firing(), tmp_path / "net.c", to="c", precision=precision).path
    sizes = [
        {name: int(n) for name, n in re.findall(r"static const u?int8_t (\w+)\[(\d+)\]", source.read_text())}
        for source in (path, small)
    ]
    apart = 8 // GRIDS[precision].bits
    assert sizes[0].keys() == sizes[1].keys() and all(sizes[0][name] * apart >= n for name, n in sizes[1].items())
    assert sum(sizes[0].values()) < 1.02 / apart * sum(sizes[1].values())
    for compiler in filter(shutil.which, ("gcc", "clang")):
        subprocess.run(
            [compiler, "-std=c99", "-O3", *STRICT, "-pedantic", "-c", path, "-o", tmp_path / "net.o"], check=True
        )
    (tmp_path / "other").mkdir()
    other = changed(path, tmp_path / "other", r"(uint8_t fc2_w\[\d+\] = \{\s)", r"\g<1>1^")
    report = prove(None, read_card(other), read_model(firing()), steps=3, opened=compiled(other, QUICK))
    assert not report.passed and report.failed_at is not None and report.failed_at["layer"] == "fc2"


def test_a_program_that_is_another_without_the_probe_fails(small: Path, tmp_path: Path) -> None:
    line = "y[a] = vote_y[a];"
    path = changed(small, tmp_path, re.escape(line), f"{line}\n#ifndef PLIF_PROBE\n    y[0] = 0.5f;\n#endif")
    (fault,) = find_target("c").find_shipped_errors(path, read_card(path), compiled(path, QUICK))
    assert "without -DPLIF_PROBE" in fault[1]


def test_a_header_that_was_changed_and_a_source_without_a_card_are_said(small: Path, tmp_path: Path) -> None:
    path = changed(small, tmp_path, "VOTERS 10", "VOTERS 9", ".h")
    report = verify(path, firing(), steps=2)
    assert report.digest is not None and report.digest["changed"] == ["header"] and not report.passed
    (tmp_path / "bare.c").write_text(small.read_text().partition("/* plif.card")[0])
    with pytest.raises(PlifError, match="has no card at its end"):
        read_card(tmp_path / "bare.c")


@pytest.mark.parametrize("compiler", ("gcc", "clang"))
def test_the_code_is_clean_under_strict_warnings(small: Path, small_float: Path, compiler: str, tmp_path: Path) -> None:
    if shutil.which(compiler) is None:
        pytest.skip(f"{compiler} is not installed")
    for source in (small, small_float):
        command = [compiler, "-std=c99", "-O3", *STRICT, "-pedantic", "-c", str(source), "-o", str(tmp_path / "net.o")]
        done = subprocess.run(command, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr


def test_no_operation_is_fused_whatever_the_compiler_is_told(small: Path, tmp_path: Path) -> None:
    """gcc and clang would make one rounding of h = v * k + x where the processor can."""
    if platform.machine() != "x86_64":
        pytest.skip("looks for x86-64 instructions")
    for compiler in filter(shutil.which, ("gcc", "clang")):
        command = [compiler, "-O3", "-mfma", "-mavx2", "-S", str(small), "-o", str(tmp_path / "net.s")]
        subprocess.run(command, check=True)
        assert "vfmadd" not in (tmp_path / "net.s").read_text()


def test_a_binary_framing_takes_bytes_and_can_take_floats(tmp_path: Path) -> None:
    net = firing(framing="duration:10ms,value=binary")
    made = export(net, tmp_path / "bytes.c", to="c", verify=False)
    assert (
        "typedef uint8_t bytes_input" in (tmp_path / "bytes.h").read_text() and verify(made.path, net, steps=2).passed
    )
    export(net, tmp_path / "floats.c", to="c", options={"input": "float"}, verify=False)
    assert "typedef float floats_input" in (tmp_path / "floats.h").read_text()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"flash": "20K"}, "needs .* of flash, --flash has 20.0K: layer fc1 alone takes .*--precision int8 takes"),
        (
            {"ram": "8K"},
            "needs .* of RAM, --ram has 8.0K: buffers .*layer conv1 alone takes .*train it for an input of about",
        ),
        ({"flash": "much"}, "--flash much: expected bytes such as"),
        ({"precision": "fp16"}, "--precision fp16: --to c writes fp32, int8"),
        ({"form": "unrolled"}, "--form unrolled: --to c writes step"),
        ({"batch": 2}, "--batch: generated C steps one stream"),
        ({"options": {"input": "int4"}}, "--set input=int4: expected float or uint8"),
    ],
)
def test_what_does_not_fit_is_refused_before_anything_is_written(
    tmp_path: Path, options: dict[str, Any], message: str
) -> None:
    with pytest.raises(PlifError, match=message):
        export(firing(), tmp_path / "net.c", **{"to": "c", **options})
    assert list(tmp_path.iterdir()) == []


def test_other_targets_have_no_budget(tmp_path: Path) -> None:
    with pytest.raises(PlifError, match="--flash: --to onnx has no such option"):
        export(firing(), tmp_path / "net.onnx", flash="512K")


def test_without_a_compiler_it_is_written_and_said_not_to_be_proved(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.delenv("CC", raising=False)
    made = export(firing(), tmp_path / "net.c", to="c")
    assert made.not_run == "there is no C compiler here (gcc, clang or cc)" and made.size is not None
    assert made.size.code is None and (tmp_path / "net.h").exists()
    with pytest.raises(PlifError, match="no C compiler here"):
        verify(made.path, firing())


def test_float32_gives_the_bits_of_the_event_engine_without_vectors(small_float: Path, tmp_path: Path) -> None:
    """Every membrane and output, over 30 steps on their own spikes; in a process whose engine has the scalar kernels."""
    if not is_built():
        pytest.skip("the event engine is not built (no C compiler at installation)")
    net = firing()
    model = export(net, tmp_path / "net.onnx", verify=False).path
    x = frames(net, np.random.default_rng(0), T=30, streams=1)
    np.save(tmp_path / "x.npy", x)
    script = (
        "import numpy as np, runtime, sys\n"
        "session = runtime.load(sys.argv[1], 'event').session()\n"
        "steps = [(session.step(x), session.snapshot()) for x in np.load(sys.argv[2])]\n"
        "np.savez(sys.argv[3], *[np.concatenate([y.ravel(), *(v.ravel() for v in states)]) for y, states in steps])\n"
    )
    words = [sys.executable, "-c", script, str(model), str(tmp_path / "x.npy"), str(tmp_path / "states.npz")]
    subprocess.run(words, check=True, env={**os.environ, "PLIF_CPU": "scalar"})
    program = compiled(small_float)
    states = program.initial()
    for x_t, expected in zip(x, np.load(tmp_path / "states.npz").values(), strict=True):
        answer = program.run_call(x_t[None], states)
        states = answer.after
        found = [answer.y.ravel(), *(states[layer][variable].ravel() for layer, variable in program.states)]
        np.testing.assert_array_equal(np.concatenate(found), expected)
    assert expected.any()
