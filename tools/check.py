# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs test stages one after another, all of them even if one fails, and says at the end what passed and how long it took.

``python tools/check.py unit lint`` runs these two. The last line is ``N passed, N failed``; the exit status is 1 if anything failed.
A skipped test and a stage that ran nothing count as failed.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from xml.etree import ElementTree

ROOT = Path(__file__).resolve().parent.parent
REPORTS = ROOT / ".build/reports"


@dataclass(frozen=True)
class Row:
    """One line of the summary.

    :param seconds: how long it took.
    :param failures: names of what failed, for the end of the output.
    """

    name: str
    passed: int
    failures: tuple[str, ...]
    seconds: float


def execute(*command: str) -> tuple[int, float]:
    """Run a command in the root of the project, without input; its exit status and its time in seconds."""
    print(f"\n=== {' '.join(command)}", flush=True)
    start = time.monotonic()
    status = subprocess.run(command, cwd=ROOT, stdin=subprocess.DEVNULL, check=False).returncode
    return status, time.monotonic() - start


def check(name: str, *command: str) -> Row:
    """A command that counts as one test."""
    status, seconds = execute(*command)
    return Row(name, int(status == 0), () if status == 0 else (name,), seconds)


def read_reports(files: Iterable[Path], skips_fail: bool = True) -> tuple[int, list[str]]:
    """How many cases of JUnit reports passed, and the names of those that did not."""
    passed, failures = 0, []
    for file in files:
        for case in ElementTree.parse(file).iter("testcase"):
            name = "::".join(filter(None, (case.get("classname"), case.get("name"))))
            verdicts = {verdict for verdict in ("failure", "error", "skipped") if case.find(verdict) is not None}
            if not verdicts:
                passed += 1
            elif skips_fail or verdicts != {"skipped"}:
                failures.append(f"{name} ({', '.join(sorted(verdicts))})")
    return passed, failures


def reported(name: str, status: int, seconds: float, reports: Iterable[Path], skips_fail: bool = True) -> Row:
    """A command that wrote JUnit reports; a bad exit status that the reports do not explain is a failure too."""
    passed, failures = read_reports(reports, skips_fail)
    if not failures and (status != 0 or not passed):
        failures = [f"{name} (exit status {status}, {passed} tests)"]
    return Row(name, passed, tuple(failures), seconds)


def pytest(name: str) -> Row:
    """The tests of one folder."""
    report = REPORTS / f"{name}.xml"
    report.unlink(missing_ok=True)
    status, seconds = execute("pytest", f"tests/{name}", f"--junit-xml={report}")
    return reported(f"pytest {name}", status, seconds, [report] if report.exists() else [])


def unit() -> Iterator[Row]:
    """Pure tests."""
    yield pytest("unit")


def integration() -> Iterator[Row]:
    """Tests against real engines, without hypervisors."""
    yield pytest("integration")


def lint() -> Iterator[Row]:
    """Static checks."""
    yield check("ruff", "ruff", "check")
    yield check("mypy", "mypy")
    yield check("yamllint", "yamllint", "--strict", ".")
    yield check("ansible-lint", "ansible-lint")
    yield check("changelog", "antsibull-changelog", "lint")
    yield check(
        "documentation", "antsibull-docs", "lint-collection-docs", "--plugin-docs", "--skip-rstcheck",
        "--validate-collection-refs=self", ".build/collections/ansible_collections/altostratus/ecs",
    )  # fmt: skip
    yield check("build", "ansible-galaxy", "collection", "build", "--force", "--output-path", ".build/artifact")


def sanity() -> Iterator[Row]:
    """ansible-test sanity; a test that the collection holds no file for is not counted."""
    from sanity import REPORTS as reports

    status, seconds = execute(sys.executable, "tools/sanity.py")
    yield reported("sanity", status, seconds, sorted(reports.glob("*.xml")), skips_fail=False)


def lab() -> Iterator[Row]:
    """The molecule scenario, step by step; without a lab its later steps cannot run, without a cloud its tests still can."""
    report = REPORTS / "lab.xml"
    report.unlink(missing_ok=True)
    broken = False
    for step in ("destroy", "create", "prepare", "converge", "idempotence"):
        if broken:
            yield Row(f"molecule {step}", 0, (f"molecule {step} (not run)",), 0)
            continue
        row = check(f"molecule {step}", "molecule", step)
        broken = bool(row.failures)
        yield row
    status, seconds = execute("molecule", "verify")
    yield reported("molecule verify", status, seconds, [report] if report.exists() else [])
    yield check("molecule cleanup", "molecule", "cleanup")
    yield check("molecule destroy", "molecule", "destroy")


def demo() -> Iterator[Row]:
    """The demo, and once more on what it built."""
    yield check("demo", "make", "demo")
    yield check("demo again", "make", "demo")


STAGES: dict[str, Callable[[], Iterator[Row]]] = {
    stage.__name__: stage for stage in (unit, lint, sanity, integration, lab, demo)
}


def run(stage: str) -> list[Row]:
    """All rows of a stage; a stage that breaks down is one more failed test."""
    rows: list[Row] = []
    try:
        rows.extend(STAGES[stage]())
    except Exception as error:
        print(f"{stage}: {error!r}", flush=True)
        rows.append(Row(stage, 0, (f"{stage} ({error!r})",), 0))
    return rows


def main(stages: list[str]) -> int:
    """Run the stages, print the table."""
    unknown = [stage for stage in stages if stage not in STAGES]
    if unknown or not stages:
        print(f"usage: check.py STAGE ..., stages: {', '.join(STAGES)}", file=sys.stderr)
        return 2
    REPORTS.mkdir(parents=True, exist_ok=True)
    rows = [row for stage in stages for row in run(stage)]
    passed, failures = sum(row.passed for row in rows), [failure for row in rows for failure in row.failures]
    print(f"\n{'':=<60}\n{'':28}{'passed':>8}{'failed':>8}{'seconds':>10}")
    for row in rows:
        print(f"{row.name:28}{row.passed:8}{len(row.failures):8}{row.seconds:10.1f}")
    print(f"{'all':28}{passed:8}{len(failures):8}{sum(row.seconds for row in rows):10.1f}")
    for failure in failures:
        print(f"failed: {failure}")
    print(f"\n{passed} passed, {len(failures)} failed", flush=True)
    return int(bool(failures))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
