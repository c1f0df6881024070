"""A script of cells becomes a page; the command line's reference is its parser; nothing is fetched from the internet."""

import json
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
HOOKS = ROOT / "docs" / "hooks"
SCRIPT = """# %% [markdown]
# # A page
#
# Two * three:

# %%
import sys
from pathlib import Path

print(2 * 3)
print("to people", file=sys.stderr)
Path("six.png").write_bytes(b"6")
Path("seven.png").write_bytes(b"7")

# %%
six = 6
# %% [markdown]
# ![six](six.png)
"""


@pytest.fixture
def hook(monkeypatch):
    """A hook, found as mkdocs finds it: beside the others."""
    monkeypatch.syspath_prepend(str(HOOKS))
    return __import__


def test_a_script_is_split_into_text_and_code(hook):
    found = hook("cells").split(SCRIPT)
    assert [cell.is_text for cell in found] == [True, False, False, True]
    assert found[0].source.splitlines()[:3] == ["# A page", "", "Two * three:"]
    assert SCRIPT.splitlines()[found[1].line - 1] == "import sys"


def test_a_page_has_code_output_and_the_figures_that_it_shows(hook, tmp_path):
    script, out = tmp_path / "page.py", tmp_path / "out"
    script.write_text(SCRIPT)
    out.mkdir()
    subprocess.run([sys.executable, HOOKS / "cells.py", script, out], check=True, timeout=60)
    outputs = json.loads((out / "outputs.json").read_text())
    assert outputs == ["", "6\nto people\n", "", ""] or outputs == ["", "to people\n6\n", "", ""]
    text, shown = hook("cells").page(script, outputs, out, "python page.py")
    assert text.startswith("# A page\n\nTwo * three:\n\n```python\nimport sys")
    assert "``` { .text .output }\n" in text
    assert "![six](page/six.png)" in text
    assert shown == ["six.png"]


def test_a_cell_that_fails_names_its_line(tmp_path):
    script = tmp_path / "page.py"
    script.write_text("# %%\nprint('before')\n# %%\n\n1 / 0\n")
    done = subprocess.run([sys.executable, HOOKS / "cells.py", script, tmp_path], capture_output=True, text=True, timeout=60)
    assert done.returncode == 1
    assert f'File "{script}", line 5' in done.stderr
    assert "ZeroDivisionError" in done.stderr


def test_every_option_of_every_command_is_in_the_reference(hook):
    pytest.importorskip("mkdocs")
    command_line = hook("command_line")
    page = command_line.page()
    for name, parser in command_line.commands().items():
        assert f"\n## {name}\n" in page
        for action in parser._actions:
            for flag in action.option_strings:
                assert flag in ("-h", "--help") or f"`{flag}`" in page
    assert "%(default)s" not in page


def test_the_site_asks_nobody_for_anything():
    settings = (ROOT / "mkdocs.yml").read_text()
    assert "font: false" in settings
    assert "http" not in settings


def test_every_result_file_is_in_the_catalogue(hook):
    pytest.importorskip("mkdocs")
    results = hook("results")
    text = results.catalogue()
    assert len(results.names()) > 40
    assert all(f"## {name}\n" in text for name in results.names())
    assert "| `polystep/accuracy_mean` | 98.22 |" in text
    page = results.environment().from_string('{{ spread(result("mnist-default").methods.polystep) }}').render()
    assert page == "98.22 ± 0.14 % (97.99)"
