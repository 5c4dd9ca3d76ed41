"""The note in the folder of a simulated set: how it was made, so that a set made otherwise is refused rather than mixed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from runtime.base.errors import PlifError
from runtime.base.files import make_folder, whole_or_nothing

NOTE = "simulated.json"


def claim(out: Path, note: dict[str, Any]) -> None:
    """Writes the note, unless the folder is something else already."""
    path = out / NOTE
    if path.is_file():
        try:
            before = json.loads(path.read_text(encoding="utf-8"))
            same = all(before.get(key) == json.loads(json.dumps(note[key])) for key in ("seed", "parameters"))
        except (ValueError, AttributeError):
            raise PlifError(f"{path}: not the note of a simulated set: choose another folder") from None
        if not same:
            raise PlifError(f"{path}: made with another seed or other parameters: choose another folder")
    elif out.exists() and (not out.is_dir() or any(out.iterdir())):
        raise PlifError(f"{out}: exists and has no {NOTE} in it: choose a new or an empty folder")
    make_folder(out)
    with whole_or_nothing(path) as (target,):
        target.write_text(json.dumps(note, indent=1) + "\n", encoding="utf-8")
