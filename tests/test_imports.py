"""Imports run one way, as CONTRIBUTING draws it, and MindSpore is imported where it is computed with alone."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "zeroshot"
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for path in PACKAGE.rglob("*.py")
}


def drawing() -> list[set[str]]:
    """The layers of CONTRIBUTING's drawing, top first: modules, or packages for all that is in them."""
    block = re.search(r"```imports\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block, "CONTRIBUTING.md has no drawing"
    return [set(line.split()) for line in block[1].splitlines() if line.strip()]


def layer(module: str) -> int:
    """The layer that names the module, or the package it lies in; the longest name counts."""
    named = [
        (len(entry), place)
        for place, entries in enumerate(drawing())
        for entry in entries
        if module == f"zeroshot.{entry}" or module.startswith(f"zeroshot.{entry}.")
    ]
    assert named, f"{module} is not in CONTRIBUTING's drawing"
    return max(named)[1]


def imported(path: Path) -> set[str]:
    """Every module that a file imports, wherever in it."""
    found = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            found |= {node.module} | {f"{node.module}.{alias.name}" for alias in node.names}
    return found


@pytest.mark.parametrize("module", sorted(set(MODULES) - {"zeroshot"}))
def test_a_module_imports_its_own_layer_or_lower_ones(module: str) -> None:
    ours = {name for name in imported(MODULES[module]) if name in MODULES and name != "zeroshot"}
    upward = {name for name in ours if layer(name) < layer(module)}
    assert not upward, f"{module} imports {sorted(upward)}, which lie above it"


def test_imports_go_round_in_no_circle() -> None:
    # but for the package itself, which imports `api` once a name of it is asked for
    ours = {name: path for name, path in MODULES.items() if name != "zeroshot"}
    edges = {name: {other for other in imported(path) if other in ours} for name, path in ours.items()}
    while leaves := {name for name, others in edges.items() if not others & edges.keys() - {name}}:
        edges = {name: others for name, others in edges.items() if name not in leaves}
    assert not edges


def test_mindspore_is_imported_where_it_computes_and_nowhere_else() -> None:
    users = {
        name.removeprefix("zeroshot.")
        for name, path in MODULES.items()
        if any(other.split(".")[0] == "mindspore" for other in imported(path))
    }
    assert users <= {"clip.forms", "clip.model", "clip.encoder", "clip.mindspore_file", "device", "ranks", "scheduler"}


def test_hydra_is_known_to_the_command_line_and_its_callback_alone() -> None:
    users = {name for name, path in MODULES.items() if any(other.split(".")[0] == "hydra" for other in imported(path))}
    assert users == {"zeroshot.__main__", "zeroshot.sweep"}


@pytest.mark.parametrize("module", ["zeroshot", "zeroshot.__main__", "zeroshot.run"])
def test_importing_the_package_loads_no_mindspore(module: str) -> None:
    code = f"import sys, {module}; sys.exit('mindspore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_modules_are_short() -> None:
    long = {name: lines for name, path in MODULES.items() if (lines := len(path.read_text().splitlines())) > 350}
    assert not long
