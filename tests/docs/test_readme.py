"""README's numbers are those of the result files, those of trained networks their cards'; README's example runs as it is printed."""

import re
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = ROOT / "README.md"
TRAINED = ROOT / "docs" / "how-to" / "trained-networks.md"


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
    assert "<!-- mnist-default" in text
    assert readme.rewritten(text) == text
    assert not readme.without_source(text)


@pytest.mark.slow
def test_the_first_example_runs_as_printed(tmp_path):
    code = re.search(r"```python\n(.*?)```", README.read_text(), re.DOTALL)[1]
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert float(re.search(r"test accuracy ([\d.]+)%", done.stdout)[1]) > 93


def test_the_table_of_trained_networks_is_what_their_cards_say():
    from polystep_snn import pretrained, pretrained_names

    rows = dict(re.findall(r"^\| `([\w-]+)` \| .* \| ([\d.]+ % \| [\d,]+) \|$", TRAINED.read_text(), re.MULTILINE))
    cards = [pretrained(name).card for name in pretrained_names()]
    assert rows == {card.name: f"{100 * card.test_accuracy:.2f} % | {card.test_samples:,}" for card in cards}
