# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""Runs the benchmarks, prints one table and writes ``latest.json`` beside this file.

``python benchmarks/run.py inventory placement`` runs these two. The exit status tells whether all of them ran, not whether goals were met:
a figure is for people to judge.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import traceback
from importlib import import_module
from pathlib import Path

from harness import Figure, table

BENCHMARKS = {
    "placement": "placement",
    "security_compile": "networks",
    "port_lookup": "networks",
    "network_converge": "networks",
    "loop_cost": "networks",
    "image_import": "images",
    "disk_from_image": "images",
    "inventory": "inventory",
    "server_create": "compute",
    "server_noop": "compute",
    "cloud_build": "compute",
}
"""Name of a benchmark, which is a generator of figures, and its file here."""
LATEST = Path(__file__).with_name("latest.json")


def machine() -> dict[str, object]:
    """What the figures were measured on."""
    models = [line.split(":")[1].strip() for line in Path("/proc/cpuinfo").read_text().splitlines() if line.startswith("model name")]
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") >> 30
    return {
        "cpu": models[0] if models else platform.machine(), "cores": os.cpu_count(), "memory_gib": memory,
        "kernel": platform.release(), "python": platform.python_version(), "kvm": Path("/dev/kvm").exists(),
    }  # fmt: skip


def main(names: list[str]) -> int:
    """Run the benchmarks of these names, or all."""
    unknown = [name for name in names if name not in BENCHMARKS]
    if unknown:
        print(f"no benchmark {', '.join(unknown)}; there are {', '.join(BENCHMARKS)}", file=sys.stderr)
        return 2
    figures: list[Figure] = []
    broken: list[str] = []
    for name in names or BENCHMARKS:
        print(f"\n== {name}", flush=True)
        try:
            for figure in getattr(import_module(BENCHMARKS[name]), name)():
                figures.append(figure)
                print(f"  {figure.name}: {figure.ours:.3f} s, {'met' if figure.met else 'NOT met'}: {figure.goal}", flush=True)
        except Exception:
            traceback.print_exc()
            broken.append(name)
    LATEST.write_text(json.dumps({"machine": machine(), "figures": [figure.record() for figure in figures]}, indent=1) + "\n")
    print("", *table(figures), sep="\n")
    print(f"\n{', '.join(f'{key} {value}' for key, value in machine().items())}")
    for figure in figures:
        if figure.note:
            print(f"{figure.name}: {figure.note}")
    print(f"{sum(figure.met for figure in figures)} of {len(figures)} goals met; written to {LATEST.relative_to(Path.cwd())}")
    if broken:
        print(f"did not run to their end: {', '.join(broken)}")
    return int(bool(broken))


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
