"""The fuzz targets of this folder, in a short form; `-m large` runs the long ones."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pytest

from runtime import native
from runtime.artifacts.plif_file import file as plif_file
from tests.fuzz import cards
from tests.fuzz.artifacts import write_onnx_files
from tests.fuzz.libfuzzer import KINDS, harness, model, unpack
from tests.fuzz.models import TARGETS
from tests.fuzz.native import build
from tests.libplif_sources import NATIVE
from tests.programs import plif_file_of, recurrent
from tests.sanitizers import OPTIONS, find_sanitizers, needs_sanitizers

HERE = Path(__file__).parent

MOST_CORPUS = 200_000  # bytes of corpus/ in the repository, all archives together: they are 72 kB


def fuzz(target: str, *options: str) -> None:
    done = subprocess.run([sys.executable, "-m", f"tests.fuzz.{target}", *options], capture_output=True, text=True)
    assert done.returncode == 0, done.stdout + done.stderr


@pytest.fixture(scope="module")
def seeds(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    folder = tmp_path_factory.mktemp("seeds")
    return [str(path) for path in write_onnx_files(folder)]


def test_the_corpus_stays_small() -> None:
    sizes = {path.name: path.stat().st_size for path in (HERE / "corpus").iterdir()}
    assert set(sizes) == {f"{kind}.tar.xz" for kind in KINDS} and sum(sizes.values()) < MOST_CORPUS, sizes


def test_a_card_that_lies_gives_one_line_or_a_run_that_ends(seeds: list[str]) -> None:
    fuzz("cards", *seeds, "--count", "20")


def test_a_drawn_lie_never_holds_itself_and_changes_no_later_one() -> None:
    drawn = []
    for _ in range(2):
        rng, card = random.Random(0), {"framing": "duration:1ms", "states": [{"shape": [1], "initial": 0}]}
        for _ in range(300):
            cards.lie(card, rng)
            drawn.append(json.dumps(card))
            if len(drawn[-1]) > 3000 or len(card) < 2:
                card = {"framing": "duration:1ms", "states": [{"shape": [1], "initial": 0}]}
    assert drawn[:300] == drawn[300:]


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with libplif, built with sanitizers."""
    build(folder := tmp_path_factory.mktemp("sanitized"), "-O0")  # compiled in a third of the time
    return folder


@needs_sanitizers
def test_native_code_touches_nothing_but_its_buffers_whatever_it_is_given(library: Path) -> None:
    fuzz("native", "--count", "8", "--folder", str(library))


@pytest.fixture(scope="module")
def averaged(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return model(tmp_path_factory.mktemp("averaged"))


def program(library: Path, name: str, *source: str) -> Path:
    """A C program of this folder with that library; source: the file, and what the compiler has to be told of it."""
    found = find_sanitizers()
    assert found is not None
    command = [found.compiler, *found.flags, "-O1", *source, str(library / "event.so"), f"-Wl,-rpath,{library}"]
    done = subprocess.run([*command, "-o", str(library / name)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return library / name


def of_files(library: Path, kind: str) -> Path:
    return program(library, kind, "-DFUZZ_FILES", *harness(kind))


def quietly(*command: str | Path, **environment: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, env={**os.environ, **OPTIONS, **environment})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


def forged(averaged: Path, target: Path) -> Path:
    """The file with averages whose counts no integer holds: `area` says how many pixels each is the mean of."""
    sections, facts = plif_file.split_file(averaged, averaged.read_bytes())
    records = plif_file.unpack_records(averaged, sections, "operations", plif_file.OPERATION)
    area = plif_file.OPERATION_FIELDS.index("area")
    changed = [[*one[:area], 3e38 if one[area] > 0 else 0.0, *one[area + 1 :]] for one in records]
    assert any(one[area] for one in changed)
    sections["operations"] = b"".join(plif_file.OPERATION.pack(*one) for one in changed)
    card = sections.pop("card").decode()
    target.write_bytes(plif_file.pack_file(card, sections, facts))
    return target


@needs_sanitizers
@pytest.mark.parametrize("path", native.cpu_paths() if native.is_built() else ())
def test_counts_that_no_integer_holds_stay_what_they_are(
    library: Path, averaged: Path, tmp_path: Path, path: str
) -> None:
    run = of_files(library, "PLIF")
    assert quietly(run, averaged, forged(averaged, tmp_path / "forged.plif"), PLIF_CPU=path) == "2 cases\n"


@needs_sanitizers
def test_files_that_lie_end_quietly(library: Path, averaged: Path, tmp_path: Path) -> None:
    """The second has neurons that are programs."""
    for file, count in ((averaged, "300"), (plif_file_of(recurrent(), tmp_path), "2000")):
        lies = program(library, "lies", f"-I{NATIVE}", str(HERE / "plif_lies.c"))
        assert f"of {count} files were run" in quietly(lies, file, "1", count)


@needs_sanitizers
@pytest.mark.parametrize("kind", KINDS)
def test_what_was_once_a_fault_ends_quietly(library: Path, averaged: Path, kind: str, tmp_path: Path) -> None:
    """Nor do the inputs that reach most of the code do harm: python -m tests.fuzz.libfuzzer has found them."""
    inputs = unpack(kind, tmp_path)
    assert quietly(of_files(library, kind), *inputs, FUZZ_MODEL=str(averaged)) == f"{len(inputs)} cases\n"


@pytest.mark.large
def test_a_card_that_lies_does_no_harm_for_ten_minutes(seeds: list[str]) -> None:
    fuzz("cards", *seeds, "--minutes", "10", "--seed", "1000")


@pytest.mark.large
@needs_sanitizers
def test_native_code_touches_nothing_else_for_ten_minutes() -> None:
    fuzz("native", "--minutes", "10", "--seed", "1000000")


@pytest.mark.machines
@needs_sanitizers
def test_every_target_finds_no_fault_in_its_minute(seeds: list[str]) -> None:
    """libFuzzer's four kinds have 60 s each, two at once; then the targets in Python have 15 s each, two at once."""
    fuzz("libfuzzer", "--minutes", "1", "--jobs", "2")
    others = [("cards", *seeds), ("native",), *(("models", target) for target in TARGETS)]
    with ThreadPoolExecutor(2) as pool:
        list(pool.map(lambda words: fuzz(*words, "--minutes", "0.25", "--seed", str(date.today().toordinal())), others))
    fuzz("recordings", "--minutes", "0.015", "--seed", str(date.today().toordinal()))  # for each of 17 formats
