"""README's numbers are those of the result files, and its example runs as it is printed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"


@pytest.fixture
def readme(monkeypatch):
    monkeypatch.syspath_prepend(str(ROOT / "docs" / "hooks"))
    import readme

    return readme


def test_a_number_is_replaced_by_that_of_its_file(readme):
    spikes = "22,080,001<!-- chip methods/chip/comparisons/0/spikes_compared -->"
    text = f"| **98.00<!-- mnist-default methods/polystep/accuracy_mean --> %** | {spikes} |"
    found = readme.rewritten(text)
    assert "**98.22<!-- mnist-default methods/polystep/accuracy_mean --> %**" in found
    assert "22,080,000<!-- chip" in found
    assert readme.rewritten(found) == found
    with pytest.raises(KeyError):
        readme.rewritten("1.0<!-- mnist-default methods/nobody -->")


def test_the_numbers_of_the_readme_are_those_of_the_result_files(readme):
    text = README.read_text()
    if "<!-- mnist-default" not in text:
        pytest.skip("this README names no result files yet")
    assert readme.rewritten(text) == text
    assert not readme.without_source(text)


@pytest.mark.slow
def test_the_first_example_runs_as_printed(tmp_path):
    code = next((block for block in re.findall(r"```python\n(.*?)```", README.read_text(), re.DOTALL) if 'load("digits")' in block), None)
    if code is None:
        pytest.skip("the first example of this README needs batches of one's own")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(re.search(r"test accuracy ([\d.]+)%", done.stdout)[1]) > 93
