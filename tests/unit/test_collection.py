# Copyright: Contributors to the altostratus.ecs project
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later
"""The collection as a whole: what it lists is what it holds."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
MODULES = sorted((ROOT / "plugins/modules").glob("[!_]*.py"))
PYTHON = sorted(path for folder in ("plugins", "tests", "tools") for path in (ROOT / folder).rglob("*.py") if path.stat().st_size)
HEADER = [
    "# Copyright: Contributors to the altostratus.ecs project",
    "# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)",
    "# SPDX-License-Identifier: GPL-3.0-or-later",
]


def relative(path: Path) -> str:
    return str(path.relative_to(ROOT))


def load(path: Path) -> dict:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def constants(path: Path) -> dict[str, str]:
    """The string constants at the top of a file: DOCUMENTATION and its like."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    return {
        target.id: node.value.value
        for node in tree.body
        if isinstance(node, ast.Assign) and isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        for target in node.targets
        if isinstance(target, ast.Name)
    }


PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]


def options(module: str) -> dict[str, Any]:
    """The options of a module, those of the fragments included."""
    documentation = yaml.safe_load(constants(ROOT / f"plugins/modules/{module}.py")["DOCUMENTATION"])
    fragments = [name.rpartition(".")[2] for name in documentation["extends_documentation_fragment"]]
    shared = [yaml.safe_load(text).get("options", {}) for name in fragments for text in [fragment(name)]]
    return {name: option for part in (*shared, documentation.get("options", {})) for name, option in part.items()}


def fragment(name: str) -> str:
    (text,) = re.findall(r'DOCUMENTATION = r"""(.*?)"""', (ROOT / f"plugins/doc_fragments/{name}.py").read_text(), re.DOTALL)
    return str(text)


def unknown(given: Any, known: Mapping[str, Any], where: str) -> Iterator[str]:
    """Options that do not exist, and values that an option does not take."""
    for item in given if isinstance(given, list) else [given]:
        if not isinstance(item, Mapping):
            continue
        for name, value in item.items():
            if name not in known:
                yield f"{where}.{name}"
            elif "suboptions" in known[name]:
                yield from unknown(value, known[name]["suboptions"], f"{where}.{name}")
            elif value not in known[name].get("choices", [value]):
                yield f"{where}.{name}: {value}"


@pytest.mark.parametrize("path", PAGES, ids=relative)
def test_yaml_on_a_page_is_what_modules_take(path):
    """Tasks of ours, and the servers of a cloud."""
    wrong = []
    for block in re.findall(r"^```yaml\n(.*?)^```", path.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        written = yaml.safe_load(block)
        for task in written if isinstance(written, list) else []:
            for name, given in task.items():
                if name.startswith("altostratus.ecs."):
                    wrong += unknown(given, options(name.rpartition(".")[2]), name)
        if isinstance(written, dict):
            wrong += unknown(written.get("cloud_servers", []), options("server"), "cloud_servers")
    assert wrong == []


def test_action_group_lists_every_module():
    assert load(ROOT / "meta/runtime.yml")["action_groups"]["all"] == [module.stem for module in MODULES]


def test_project_group_lists_the_modules_with_a_project():
    group = load(ROOT / "meta/runtime.yml")["action_groups"]["project"]
    assert group == [module.stem for module in MODULES if "altostratus.ecs.scope" in constants(module)["DOCUMENTATION"]]


@pytest.mark.parametrize("path", PYTHON, ids=relative)
def test_python_file_has_the_licence_header(path):
    lines = [line for line in path.read_text(encoding="utf-8").splitlines() if not line.startswith("#!")]
    assert lines[:3] == HEADER


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_module_is_documented(path):
    texts = constants(path)
    documentation = yaml.safe_load(texts["DOCUMENTATION"])
    assert documentation["module"] == path.stem
    assert f"altostratus.ecs.{path.stem}:" in texts["EXAMPLES"]
    assert yaml.safe_load(texts["EXAMPLES"])
    assert yaml.safe_load(texts["RETURN"])


@pytest.mark.parametrize("path", MODULES, ids=relative)
def test_readme_names_the_module(path):
    assert f"`{path.stem}`" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("role", sorted((ROOT / "roles").iterdir()), ids=relative)
def test_role_describes_itself(role):
    arguments = load(role / "meta/argument_specs.yml")["argument_specs"]["main"]
    assert arguments["short_description"]
    prefix = f"{role.name}_"
    assert [name for name in arguments.get("options", {}) if not name.startswith(prefix)] == []
    assert f"`{role.name}`" in (ROOT / "README.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("floor", ["_model", "_engines"])
def test_lower_floors_import_no_ansible_and_nothing_above(floor):
    forbidden = {"_model": ("_engines", "_services", "_module"), "_engines": ("_services", "_module")}[floor]
    found = [
        f"{relative(path)}: {name}"
        for path in (ROOT / "plugins/module_utils" / floor).rglob("*.py")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        for name in imported(node)
        if name.split(".")[0] in ("ansible", "ansible_collections", *forbidden)
    ]
    assert found == []


def imported(node: ast.AST) -> list[str]:
    """Names of the modules that a node imports."""
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return [node.module] if node.module else [alias.name for alias in node.names]
    return []
