"""plif bench --triton: how many live streams a server holds, in an open loop against a real server."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from plif_export import export
from runtime.core.cli.main import run
from runtime.observers.triton_repository.served import find_largest, run_load_test
from tests.networks import firing
from tests.triton_server import environment, serving

pytestmark = pytest.mark.machines

served_for_real = pytest.mark.skipif(
    isinstance(environment(), str), reason=str(environment()) if isinstance(environment(), str) else ""
)
SECOND = ["--seconds", "1", "--every", "50ms", "--json"]


@pytest.fixture(scope="module")
def repository(tmp_path_factory: pytest.TempPathFactory) -> Path:
    options = {"backend": "python", "sequences": "4", "idle_s": "2"}
    return export(firing(), tmp_path_factory.mktemp("served") / "m_triton", to="triton", options=options).path


@pytest.fixture(scope="module")
def server(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with serving(repository, tmp_path_factory.mktemp("server") / "log") as address:
        yield address


@pytest.mark.parametrize("most", range(1, 18))
def test_the_search_finds_the_largest_number_that_is_held(most: int) -> None:
    for largest in range(most + 3):
        tried: list[int] = []

        def held(number: int, largest: int = largest, tried: list[int] = tried) -> bool:
            tried.append(number)
            return number <= largest

        assert find_largest(held, most) == min(largest, most)
        assert len(set(tried)) == len(tried) and all(1 <= number <= most for number in tried)


def test_a_server_that_goes_away_between_two_tries_ends_the_try() -> None:
    found = run_load_test("127.0.0.1:9", "m", np.zeros((10, 2, 4, 4), np.float32), 3, 0.01, 20.0, 0.1)
    assert not found.held and found.failed == 3 and found.frames == 0 and "no answer" in str(found.problem)


@served_for_real
def test_a_server_holds_streams_at_a_bar_and_none_at_a_bar_of_a_microsecond(
    repository: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["bench", str(repository), "--triton", server, "--streams", "2", *SECOND]
    assert run([*arguments, "--p99", "30s"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["streams"] == 2 and found["every_ms"] == 50.0 and found["bar_p99_ms"] == 30000.0
    assert [(row["streams"], row["frames"], row["failed"]) for row in found["loads"]] == [(1, 20, 0), (2, 40, 0)]
    assert all(0 < row["p50_ms"] <= row["p99_ms"] for row in found["loads"])
    assert run([*arguments, "--p99", "1us"]) == 0
    none = json.loads(capsys.readouterr().out)
    assert none["streams"] == 0 and [row["held"] for row in none["loads"]] == [False]


@served_for_real
def test_what_waits_behind_a_late_answer_counts(
    repository: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """A thousand frames within 100 ms: each is later than the one before it, by the queue."""
    arguments = ["bench", str(repository), "--triton", server, "--p99", "30s", "--json"]
    assert run([*arguments, "--every", "50ms", "--seconds", "1"]) == 0
    (alone,) = json.loads(capsys.readouterr().out)["loads"]
    assert run([*arguments, "--every", "100us", "--seconds", "0.1"]) == 0
    (queued,) = json.loads(capsys.readouterr().out)["loads"]
    assert queued["p50_ms"] > 10 * alone["p50_ms"]  # the clock of a closed loop would give the same for both


@served_for_real
def test_streams_without_a_place_on_the_server_are_not_held(
    repository: Path, server: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", str(repository), "--triton", server, "--streams", "8", *SECOND, "--p99", "30s"]) == 0
    assert json.loads(capsys.readouterr().out)["streams"] <= 4


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--triton", "127.0.0.1:9"], "no answer"),
        (["--triton", "here"], "expected HOST:PORT"),
        (["--triton", "127.0.0.1:9", "--p99", "soon"], "is not a time"),
        (["--triton", "127.0.0.1:9", "--data", "digits:3"], "takes one model_triton folder"),
    ],
)
def test_what_cannot_be_loaded_is_one_line(
    repository: Path, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(["bench", str(repository), "--every", "10ms", *arguments]) == 2
    shown = capsys.readouterr()
    assert said in shown.err and shown.err.count("\n") == 1 and shown.out == ""


def test_a_file_that_no_server_serves_is_refused(digits_onnx: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(["bench", str(digits_onnx), "--triton", "127.0.0.1:9"]) == 2
    assert "is not served by Triton" in capsys.readouterr().err
