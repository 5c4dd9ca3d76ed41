"""Look up known vulnerabilities of the packages that are installed here: `make audit`.

Writes requirements/audit.json: when it last ran, how many packages were looked up, and what is known. It fails for a known
vulnerability and for a package that could not be looked up, which is not audited.
"""

from __future__ import annotations

import datetime
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
PLACE = ROOT / "requirements" / "audit.json"
COMMAND = (sys.executable, "-m", "pip_audit", "--skip-editable", "--format", "json", "--progress-spinner", "off")


def read_advisories(answer: str, date: str) -> dict[str, Any]:
    """Return the record of pip-audit's JSON; plif itself is on no index and is left out."""
    packages = [package for package in json.loads(answer)["dependencies"] if package["name"] != "plif"]
    return {
        "date": date,
        "packages": len(packages),
        "vulnerabilities": {
            f"{package['name']} {package['version']}": sorted(advisory["id"] for advisory in package["vulns"])
            for package in packages
            if package.get("vulns")
        },
        "not audited": sorted(package["name"] for package in packages if "skip_reason" in package),
    }


def find_problems(record: dict[str, Any]) -> list[str]:
    """Return a line for each kind of failure; none for an audit that is complete and found nothing."""
    lost = record["not audited"]
    problems = [f"{package}: {', '.join(ids)}" for package, ids in record["vulnerabilities"].items()]
    if not record["packages"]:
        problems.append("no package was looked up")
    if lost:
        names = ", ".join(lost[:5]) + (", .." if len(lost) > 5 else "")
        problems.append(f"{len(lost)} of {record['packages']} packages could not be looked up, so not audited: {names}")
    return problems


def audit(place: Path = PLACE, command: tuple[str, ...] = COMMAND) -> list[str]:
    """Run pip-audit, write its record to `place` and return the problems."""
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    try:
        record = read_advisories(done.stdout, datetime.date.today().isoformat())
    except (ValueError, KeyError):  # it ended before it could answer, and said why
        return [f"pip-audit ended with {done.returncode} and without an answer: nothing was audited"]
    lines = (f" {json.dumps(key)}: {json.dumps(value)}" for key, value in record.items())
    place.write_text("{\n" + ",\n".join(lines) + "\n}\n", encoding="utf-8")
    return find_problems(record)


if __name__ == "__main__":
    found = audit()
    print("\n".join(found) or f"nothing is known against the packages: {PLACE}")
    sys.exit(bool(found))
