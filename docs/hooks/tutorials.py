"""Runs every script below ``docs/`` and puts its page into the site. A script whose code and package did not change is not run again."""

import ast
import hashlib
import json
import os
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from shutil import rmtree

from cells import OUTPUTS, page
from mkdocs.exceptions import PluginError
from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[2]
BUILD = ROOT / "build" / "docs"
FOLDERS = ("tutorials", "method")
_TIME_LIMIT_S = 600


def scripts() -> list[Path]:
    """The scripts that become pages."""
    return [path for folder in FOLDERS for path in sorted((ROOT / "docs" / folder).glob("*.py"))]


def on_files(files: Files, config) -> Files:
    """Add a page for every script, and the figures that it shows."""
    package = _digest_of_package()
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        folders = list(pool.map(lambda script: _executed(script, package), scripts()))
    for script, folder in zip(scripts(), folders, strict=True):
        place = script.parent.relative_to(ROOT / "docs")
        text, shown = page(script, json.loads((folder / OUTPUTS).read_text()), folder, f"python {script.relative_to(ROOT)}")
        files.append(File.generated(config, f"{place}/{script.stem}.md", content=text))
        for name in shown:
            files.append(File.generated(config, f"{place}/{script.stem}/{name}", abs_src_path=str(folder / name)))
    return files


def _digest_of_package() -> bytes:
    """Of all code that a script may call, and of whether there is real data."""
    digest = hashlib.sha256(b"data" if os.environ.get("POLYSTEP_SNN_DATA") else b"")
    for folder in ("polystep_snn", "hardware", "datasets"):
        for path in sorted((ROOT / folder).rglob("*.py")):
            digest.update(_code(path.read_text()).encode())
    return digest.digest()


def _code(source: str) -> str:
    """What a module does, without what it says of itself."""
    tree = ast.parse(source)
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef) and ast.get_docstring(node) is not None:
            node.body = node.body[1:]
    return ast.dump(tree)


def _executed(script: Path, package: bytes) -> Path:
    """The folder in which a script was run, now or before."""
    key = hashlib.sha256(package + script.read_bytes() + Path(__file__).with_name("cells.py").read_bytes()).hexdigest()[:16]
    folder = BUILD / script.stem / key
    if (folder / OUTPUTS).is_file():
        return folder
    rmtree(folder.parent, ignore_errors=True)
    folder.mkdir(parents=True)
    # Scripts run side by side: one thread each.
    environment = {"OMP_NUM_THREADS": "1", **os.environ, "MPLBACKEND": "agg"}
    command = [sys.executable, str(Path(__file__).with_name("cells.py")), str(script), str(folder)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=_TIME_LIMIT_S)
    if done.returncode:
        raise PluginError(f"{script.relative_to(ROOT)} failed:\n{done.stdout}{done.stderr}")
    return folder
