"""A script of cells: read, run, and written as a page.

``# %% [markdown]`` begins text, ``# %%`` code, as editors and jupytext know them, so a tutorial is a script that runs by itself.

    python docs/hooks/cells.py SCRIPT FOLDER

runs one in ``FOLDER`` and writes what its cells printed to ``FOLDER/outputs.json``.
"""

import json
import os
import sys
import tempfile
from pathlib import Path
from typing import NamedTuple

OUTPUTS = "outputs.json"


class Cell(NamedTuple):
    """A part of a script: whether it is text, its lines, and the number of its first one."""

    is_text: bool
    source: str
    line: int


def split(script: str) -> list[Cell]:
    """The cells of a script, empty ones left out."""
    cells, lines, is_text, start = [], [], False, 1
    for number, line in enumerate([*script.splitlines(), "# %%"], 1):
        if not line.startswith("# %%"):
            lines.append((line[2:] if line.startswith("# ") else "" if line == "#" else line) if is_text else line)
            continue
        source = "\n".join(lines)
        if source.strip():
            cells.append(Cell(is_text, source, start))
        lines, is_text, start = [], "[markdown]" in line, number + 1
    return cells


def run(script: Path) -> list[str]:
    """What every cell printed, in one namespace, in the current folder; programs that a cell starts included."""
    namespace = {"__name__": "__main__", "__file__": str(script)}
    outputs = []
    for cell in split(script.read_text()):
        if cell.is_text:
            outputs.append("")
            continue
        # Lines before it keep line numbers right in messages.
        code = compile("\n" * (cell.line - 1) + cell.source, str(script), "exec")
        with tempfile.TemporaryFile() as printed:
            kept = os.dup(1), os.dup(2)
            for stream in (1, 2):
                os.dup2(printed.fileno(), stream)
            try:
                exec(code, namespace)
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                for stream, before in zip((1, 2), kept, strict=True):
                    os.dup2(before, stream)
                    os.close(before)
                printed.seek(0)
                outputs.append(printed.read().decode())
                if sys.exc_info()[0] is not None:
                    sys.stderr.write(outputs[-1])
    return outputs


def page(script: Path, outputs: list[str], folder: Path, command: str) -> tuple[str, list[str]]:
    """A script as Markdown, and the files of ``folder`` that it shows.

    Args:
        script: the tutorial.
        outputs: as from ``run``.
        folder: where it ran; files of it that the text links to are shown from a folder named as the script.
        command: what a reader types to run it.
    """
    parts, shown = [], []
    for cell, output in zip(split(script.read_text()), outputs, strict=True):
        if cell.is_text:
            text = cell.source.strip("\n")
            for path in sorted(folder.iterdir()):
                if f"]({path.name})" in text and path.name != OUTPUTS:
                    text = text.replace(f"]({path.name})", f"]({script.stem}/{path.name})")
                    shown.append(path.name)
            parts.append(text)
            continue
        parts.append(f"```python\n{cell.source.strip(chr(10))}\n```")
        if output.strip():
            parts.append(f"``` {{ .text .output }}\n{output.rstrip()}\n```")
    parts.append(f"---\n\nThis page is a script, [`{script.name}`]({script.name}), and what it printed: `{command}` runs it.")
    return "\n\n".join(parts) + "\n", shown


if __name__ == "__main__":
    path, out = Path(sys.argv[1]).resolve(), Path(sys.argv[2])
    os.chdir(out)
    Path(OUTPUTS).write_text(json.dumps(run(path)))
