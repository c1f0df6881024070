"""What the house promises: who knows whom, how long a file is, and what an import costs."""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

import polystep_snn

ROOT = Path(__file__).parents[1]
# Which rooms a room may import. What is not listed here may import all of them.
MAY_IMPORT = {
    "polystep": set(),
    "engine": set(),
    "modules": set(),
    "snn": {"hardware"},
    "spaces": {"polystep", "engine", "snn"},
    "hardware": set(),
    "datasets": set(),
    "baselines": {"polystep", "engine", "snn", "spaces"},
    "convert": {"snn", "hardware"},
}
# Files at the top that every room may import.
SHARED = {"checksum", "errors", "files", "folder_lock", "options", "geometry", "hdf5_child", ""}


def module_name(path: Path) -> str:
    parts = path.relative_to(ROOT).with_suffix("").parts
    return ".".join(parts if parts[0] == "polystep_snn" else ("polystep_snn", *parts)).removesuffix(".__init__")


MODULES = {module_name(path): path for folder in ("polystep_snn", "hardware", "datasets") for path in (ROOT / folder).rglob("*.py")}


def imports(module: str) -> set[str]:
    """The project's modules that a module imports, also within functions."""
    tree = ast.parse(MODULES[module].read_text())
    found = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            names = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= names & set(MODULES) or {str(node.module)}
    return found & set(MODULES)


def room_of(module: str) -> str:
    return module.split(".")[1] if "." in module else ""


@pytest.mark.parametrize("room", MAY_IMPORT)
def test_a_room_imports_no_other_than_it_may(room):
    members = [m for m in MODULES if room_of(m) == room]
    assert members
    wrong = [(m, other) for m in members for other in imports(m) if room_of(other) not in MAY_IMPORT[room] | SHARED | {room}]
    assert not wrong


# It knows all spaces.
CHOOSERS = {"polystep_snn.spaces.choose", "polystep_snn.spaces.hybrid"}


def test_no_space_imports_another():
    spaces = {m: m.split(".")[2] for m in MODULES if m.startswith("polystep_snn.spaces.") and m not in CHOOSERS}
    assert {"node", "layer", "weight"} <= set(spaces.values())
    assert not [(m, other) for m in spaces for other in imports(m) if spaces.get(other, spaces[m]) != spaces[m]]


def test_imports_have_no_circles():
    graph = {m: {other for other in imports(m) if other != "polystep_snn"} for m in MODULES if m != "polystep_snn"}
    while graph:
        leaves = {m for m, others in graph.items() if not others & set(graph)}
        assert leaves, f"a circle among {sorted(graph)}"
        graph = {m: others for m, others in graph.items() if m not in leaves}


def test_no_file_is_longer_than_300_lines():
    folders = ("polystep_snn", "hardware", "datasets", "examples", "benchmarks", "tests")
    lengths = {path.relative_to(ROOT): len(path.read_text().splitlines()) for folder in folders for path in (ROOT / folder).rglob("*.py")}
    assert not {str(path): length for path, length in lengths.items() if length > 300}


def imported(statement: str) -> set[str]:
    """Top-level modules that a statement loads in a fresh interpreter."""
    code = f"{statement}\nimport sys\nprint(*sys.modules)"
    return set(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120).stdout.split())


def test_importing_the_package_is_cheap():
    assert not {"torch", "numpy", "matplotlib"} & imported("import polystep_snn")


@pytest.mark.parametrize("module", ["polystep_snn.hardware", "polystep_snn.datasets", "polystep_snn.datasets.mnist"])
def test_hardware_and_data_know_nothing_of_torch(module):
    assert "torch" not in imported(f"import {module}")


def test_the_command_line_loads_torch_only_to_run():
    assert not {"torch", "matplotlib"} & imported("from polystep_snn.cli.main import make_parser\nmake_parser()")


def test_a_run_loads_only_what_it_needs(tmp_path):
    """Each of these takes a second or two; a run that compiles nothing needs none of them."""
    command = f"train digits --hidden 4 --num-steps 2 --epochs 1 --probed 2 --encoder poisson --no-compile --out {tmp_path / 'run'}"
    found = imported(f"from polystep_snn.cli.main import main\nassert main({command.split()}) == 0")
    assert "torch" in found
    assert not {"torch._dynamo", "sklearn", "scipy", "norse", "matplotlib"} & found


def test_the_configurations_choices_are_those_there_are():
    from polystep_snn.datasets.config import ENCODERS
    from polystep_snn.polystep.polytope import KINDS
    from polystep_snn.snn import encoders
    from polystep_snn.spaces import config
    from polystep_snn.spaces.node.space import CREDITS

    assert tuple(encoders.ENCODERS) == ENCODERS
    assert KINDS == config.POLYTOPES
    assert CREDITS == config.CREDITS


def test_every_public_name_is_there():
    for name in polystep_snn.__all__:
        assert getattr(polystep_snn, name) is not None
    assert set(polystep_snn.__all__) <= set(dir(polystep_snn))
    with pytest.raises(AttributeError, match="no attribute 'Nothing'"):
        _ = polystep_snn.Nothing


def test_every_package_is_in_the_wheel():
    listed = re.search(r"^packages = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.DOTALL | re.MULTILINE)[1]
    found = {".".join(path.parent.relative_to(ROOT).parts) for path in (ROOT / "polystep_snn").rglob("__init__.py")}
    for folder in ("datasets", "hardware"):
        found |= {".".join(("polystep_snn", *path.parent.relative_to(ROOT).parts)) for path in (ROOT / folder).rglob("__init__.py")}
    assert set(re.findall(r'"(.*?)"', listed)) == found


def test_files_of_data_are_in_the_wheel():
    patterns = re.search(r"^polystep_snn = \[(.*?)\]", (ROOT / "pyproject.toml").read_text(), re.MULTILINE)[1]
    package = ROOT / "polystep_snn"
    found = {path for pattern in re.findall(r'"(.*?)"', patterns) for path in package.glob(pattern)}
    assert found == {path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts and path.suffix != ".py"}


def test_the_lowest_versions_are_the_lower_bounds():
    text = (ROOT / "pyproject.toml").read_text()
    lists = re.findall(r"^(?:dependencies|events|benchmarks) = \[(.*?)\]$", text, re.DOTALL | re.MULTILINE)
    bounds = dict(re.findall(r'"([\w-]+)>=([\d.]+)"', "".join(lists)))
    pinned = dict(re.findall(r"^([\w-]+)==([\d.]+)$", (ROOT / "constraints-lowest.txt").read_text(), re.MULTILINE))
    assert len(bounds) == 14
    for name, version in pinned.items():
        # A bound may leave out a zero at its end.
        assert version in (bounds[name], f"{bounds[name]}.0"), name
    assert pinned.keys() == bounds.keys()


def test_the_citation_names_this_version():
    assert f"\nversion: {polystep_snn.__version__}\n" in (ROOT / "CITATION.cff").read_text()
