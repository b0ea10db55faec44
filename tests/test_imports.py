"""Imports run one way, as CONTRIBUTING draws it; MindSpore and Hydra are imported in a few places only."""

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
    """The lines of CONTRIBUTING's drawing, top first: packages and modules."""
    block = re.search(r"```imports\n(.*?)```", (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"), re.DOTALL)
    assert block, "CONTRIBUTING.md has no drawing"
    return [set(line.split()) for line in block[1].splitlines() if line.strip()]


def layer(module: str) -> int:
    """The line that names the module or its package."""
    named = [
        (len(entry), place)
        for place, entries in enumerate(drawing())
        for entry in entries
        if module == f"zeroshot.{entry}" or module.startswith(f"zeroshot.{entry}.")
    ]
    assert named, f"{module} is not in CONTRIBUTING's drawing"
    return max(named)[1]


def imported(path: Path) -> set[str]:
    """Every module that a file imports, at whatever place."""
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
    assert not upward, f"{module} imports {sorted(upward)}, which are above it"


def test_no_modules_import_each_other_in_a_cycle() -> None:
    # but for the package itself, which imports `api` once a name of it is asked for
    ours = {name: path for name, path in MODULES.items() if name != "zeroshot"}
    edges = {name: {other for other in imported(path) if other in ours} for name, path in ours.items()}
    while leaves := {name for name, others in edges.items() if not others & edges.keys() - {name}}:
        edges = {name: others for name, others in edges.items() if name not in leaves}
    assert not edges


def test_mindspore_is_imported_by_the_networks_the_encoder_and_the_device() -> None:
    users = {
        name.removeprefix("zeroshot.")
        for name, path in MODULES.items()
        if any(other.split(".")[0] == "mindspore" for other in imported(path))
    }
    networks = {"towers", "cpu", "chinese_clip", "siglip", "cpu_siglip", "network", "encoder"}
    assert users == {f"models.{name}" for name in networks} | {"devices.target"}


def test_hydra_is_imported_by_the_command_line_its_callback_and_the_composition() -> None:
    users = {name for name, path in MODULES.items() if any(other.split(".")[0] == "hydra" for other in imported(path))}
    assert users == {"zeroshot.__main__", "zeroshot.sweep", "zeroshot.config.compose", "zeroshot.config.overrides"}


@pytest.mark.parametrize("module", ["zeroshot", "zeroshot.__main__", "zeroshot.run"])
def test_importing_the_package_loads_no_mindspore(module: str) -> None:
    code = f"import sys, {module}; sys.exit('mindspore' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], cwd=ROOT, check=False).returncode == 0


def test_every_package_says_its_job_in_its_first_line() -> None:
    packages = [path for path in PACKAGE.rglob("__init__.py") if path.parent != PACKAGE]
    assert len(packages) >= 10
    for path in packages:
        documentation = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))
        assert documentation, path
        assert len(documentation.splitlines()[0]) > 20, path


def test_no_module_has_more_than_300_lines() -> None:
    long = {name: lines for name, path in MODULES.items() if (lines := len(path.read_text().splitlines())) > 300}
    assert not long
