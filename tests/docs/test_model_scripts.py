"""The scripts in models/ ask for what the real command line takes. They train for hours, so they are only listened to here."""

from __future__ import annotations

import os
import shlex
import subprocess
from itertools import pairwise
from pathlib import Path

import pytest

from plif_train.hooks.mixed_windows.windows import parse_variation
from tests.conftest import REPOSITORY
from tests.docs.commands import refusal

LISTENER = """#!/bin/sh
for word in plif "$@"; do printf '%s\\n' "$word" >> HEARD; done; echo END >> HEARD
"""


@pytest.mark.parametrize("script", sorted((REPOSITORY / "models").glob("*.sh")), ids=lambda path: path.name)
def test_every_command_of_a_script_is_one_that_the_command_line_takes(script: Path, tmp_path: Path) -> None:
    heard = tmp_path / "heard.txt"
    listener = tmp_path / "bin" / "plif"
    listener.parent.mkdir()
    listener.write_text(LISTENER.replace("HEARD", shlex.quote(str(heard))))
    listener.chmod(0o755)
    clips = tmp_path / "clips" / "train" / "arm_roll"
    clips.mkdir(parents=True)
    start = REPOSITORY / "models" / "gesture-sim.pt"
    environment = os.environ | {"PATH": f"{listener.parent}:{os.environ['PATH']}"}
    subprocess.run([script, start, tmp_path / "clips", tmp_path / "work"], check=True, env=environment)
    commands = [part.strip().split("\n") for part in heard.read_text().split("END\n")[:-1]]
    assert {words[1] for words in commands} >= {"data", "train"}
    for words in commands:
        assert refusal(words, whole=True) is None, words
        for option, value in pairwise(words):
            if option == "--vary":
                assert parse_variation(value)
