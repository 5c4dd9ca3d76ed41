"""The Dockerfile, checked without a daemon: its rules by reading it, its steps by running them in a fresh environment."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from plif_export import export
from tests.conftest import REPOSITORY
from tests.live import until

TEXT = (REPOSITORY / "Dockerfile").read_text()


def instructions() -> list[tuple[str, str]]:
    """(INSTRUCTION, rest) of each line, continuation lines joined, comments left out."""
    lines = [line for line in TEXT.splitlines() if not line.lstrip().startswith("#")]
    joined = re.sub(r"\\\n\s*", "", "\n".join(lines))
    return [(line.partition(" ")[0], line.partition(" ")[2].strip()) for line in joined.splitlines() if line.strip()]


def of(name: str) -> list[str]:
    return [rest for instruction, rest in instructions() if instruction == name]


def test_the_rules_of_good_dockerfiles_hold() -> None:
    assert all(re.fullmatch(r"python:3\.\d+-slim( AS \w+)?", image) for image in of("FROM")), "a tag, and not latest"
    assert not of("ADD") and not of("MAINTAINER")
    assert all("PIP_NO_CACHE_DIR=1" in rest for rest in of("ENV")[:1])
    for command in of("RUN"):
        assert "sudo" not in command and not re.search(r"\bcd ", command) and "curl" not in command
        if "apt-get install" in command:
            assert "--no-install-recommends" in command and "apt-get update" in command
            assert "rm -rf /var/lib/apt/lists/*" in command and " -y" in command
    for name in ("ENTRYPOINT", "CMD"):
        assert isinstance(json.loads(of(name)[-1]), list), "the exec form: signals reach plif itself"
    assert all(json.loads(rest.partition("CMD ")[2]) for rest in of("HEALTHCHECK")) and len(of("HEALTHCHECK")) == 1
    assert not re.search(r"(?i)(password|token|secret)\s*=", TEXT)


def test_it_runs_as_a_user_without_rights_and_the_compiler_stays_behind() -> None:
    last = TEXT.rpartition("\nFROM ")[2]
    assert re.search(r"^USER 10001:10001$", last, re.MULTILINE) and "--uid 10001" in last
    assert "apt-get" not in last and "pip" not in last
    assert last.index("USER") < last.index("ENTRYPOINT")
    assert "-o 10001 -g 10001 -m 700 /run/plif" in last and "RUNTIME_DIRECTORY=/run/plif" in last, "for the token"


def test_what_it_copies_is_there_and_in_the_build_context() -> None:
    patterns = [line for line in (REPOSITORY / ".dockerignore").read_text().splitlines() if line and line[0] != "#"]
    assert patterns[0] == "*", "nothing but what is named"
    for rest in of("COPY"):
        if rest.startswith("--from="):
            continue
        for source in rest.split()[:-1]:
            assert (REPOSITORY / source).exists() and f"!{source}" in patterns, source


def test_the_service_page_names_options_that_exist() -> None:
    page = (REPOSITORY / "docs" / "service.md").read_text()
    used = {word for line in re.findall(r"plif stream .*(?:\\\n.*)*", page) for word in re.findall(r"--[a-z-]+", line)}
    helped = subprocess.run(
        [sys.executable, "-c", "from runtime.core.cli.main import main; main()", "stream", "--help"],
        capture_output=True,
        text=True,
        env={**os.environ, "COLUMNS": "200"},
        timeout=60,
    ).stdout
    assert used and all(option in helped for option in used), used


@pytest.mark.large
def test_docker_steps_give_a_runtime_without_torch_that_streams(tmp_path: Path) -> None:
    """The RUN steps of the build stage, in a fresh virtual environment instead of a container (downloads 30 MB)."""
    source = tmp_path / "src"
    source.mkdir()
    for rest in of("COPY"):
        for name in [] if rest.startswith("--from=") else rest.split()[:-1]:
            here = REPOSITORY / name
            ignored = shutil.ignore_patterns("__pycache__", "*.so", "*.o")
            shutil.copytree(here, source / name, ignore=ignored) if here.is_dir() else shutil.copy(here, source / name)
    steps = next(command for command in of("RUN") if "pip install" in command)
    steps = steps.replace("/opt/", f"{tmp_path}/")
    steps = re.sub(r"(?<!/)python -m venv", f"{shlex.quote(sys.executable)} -m venv", steps)
    clean = {"PATH": os.environ["PATH"], "HOME": str(tmp_path)}
    done = subprocess.run(["bash", "-ec", steps], cwd=source, capture_output=True, text=True, env=clean, timeout=900)
    assert done.returncode == 0, done.stderr[-2000:]
    assert "event" in done.stdout and not re.search(r"^torch +\d", done.stdout, re.MULTILINE)
    python = tmp_path / "plif" / "bin" / "python"
    listed = subprocess.run([python, "-m", "pip", "list"], capture_output=True, text=True, env=clean).stdout.lower()
    assert "onnxruntime" in listed and "uvicorn" in listed and "torch" not in listed and "onnx " not in listed
    health = [python, *json.loads(of("HEALTHCHECK")[0].partition("CMD ")[2])[1:]]
    assert subprocess.run(health, capture_output=True, env=clean).returncode != 0, "nothing listens: unhealthy"
    export(REPOSITORY / "models" / "nmnist-digits.pt", tmp_path / "m.onnx")
    command = [python.parent / "plif", "stream", tmp_path / "m.onnx", "sim:digits?seconds=60", "--speed", "real"]
    command += ["--framing", "duration:20ms", "--engine", "event", "--dashboard", "127.0.0.1:0"]
    running = subprocess.Popen(
        command, cwd=tmp_path, env=clean, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert running.stderr is not None
    port = re.search(r":(\d+)/, its token", running.stderr.readline())
    assert port is not None
    health = [str(part).replace(":8080/", f":{port[1]}/") for part in health]
    assert subprocess.run(health, capture_output=True, env=clean).returncode == 0
    running.terminate()
    out, err = running.communicate(timeout=30)
    assert running.returncode == 130 and "answer" in out, err


def docker(*words: str, check: bool = True) -> str:
    done = subprocess.run(["docker", *words], capture_output=True, text=True, timeout=900)
    assert done.returncode == 0 or not check, done.stderr[-3000:]
    return (done.stdout + done.stderr).strip()


@pytest.mark.machines
def test_docker_builds_the_image_and_it_streams_as_the_page_says(tmp_path: Path) -> None:
    """Without root, rights, a shell or a file that it may write; its health check passes; no log has the token."""
    if not shutil.which("docker") or subprocess.run(["docker", "info"], capture_output=True).returncode:
        pytest.skip("no Docker daemon answers here")
    docker("build", "--tag", "plif-test", str(REPOSITORY))
    export(REPOSITORY / "models" / "nmnist-digits.pt", tmp_path / "model.onnx")
    page = (REPOSITORY / "docs" / "service.md").read_text()
    limits = next(line for line in page.splitlines() if "--read-only" in line).rstrip("\\").split()
    name = f"plif-test-{os.getpid()}"
    run = ["run", "--detach", "--name", name, *limits, "--health-interval", "2s", "--volume"]
    stream = ["sim:digits?seconds=600", "--speed", "real", "--framing", "duration:20ms", "--dashboard", "0.0.0.0:8080"]
    try:
        docker(*run, f"{tmp_path}/model.onnx:/data/model.onnx:ro", "plif-test", "stream", "model.onnx", *stream)
        until(lambda: docker("inspect", "--format", "{{.State.Health.Status}}", name) == "healthy")
        assert docker("exec", name, "id", "-u") == "10001"
        assert "No module named 'torch'" in docker("exec", name, "python", "-c", "import torch", check=False)
        token = docker("exec", name, "cat", "/run/plif/plif-8080.token")
        assert len(token) >= 24 and token not in docker("logs", name)
        docker("stop", "--time", "10", name)
        assert docker("inspect", "--format", "{{.State.ExitCode}}", name) == "130"
        assert "answer" in docker("logs", name)
    finally:
        docker("rm", "--force", name, check=False)
