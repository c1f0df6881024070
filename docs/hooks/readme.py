"""Numbers in README.md come from result files: a comment behind each says which file and key.

98.22<!-- mnist-default methods/polystep/accuracy_mean -->

python docs/hooks/readme.py README.md          rewrites the numbers, with as many decimals as stand there
python docs/hooks/readme.py README.md --check  ends with exit code 1 where one is another one
"""

import re
import sys
from pathlib import Path

from results import lookup

_NUMBER = re.compile(r"(?P<number>[-\d.,]+)<!--\s*(?P<name>\S+)\s+(?P<path>[^>]*?)\s*-->")


def rewritten(text: str) -> str:
    """The text with every number as its result file has it."""

    def number(found: re.Match) -> str:
        decimals = found["number"].partition(".")[2]
        value = f"{lookup(found['name'], found['path']):,.{len(decimals)}f}"
        return f"{value}<!-- {found['name']} {found['path']} -->"

    return _NUMBER.sub(number, text)


def without_source(text: str) -> list[str]:
    """Percentages and deviations in tables that no comment explains."""
    rows = [line for line in text.splitlines() if line.startswith("|")]
    return [row for row in rows if re.search(r"\d+\.\d+\**(?: %| ±)", row)]


if __name__ == "__main__":
    path = Path(sys.argv[1])
    before = path.read_text()
    after = rewritten(before)
    if "--check" in sys.argv:
        sys.exit(f"{path} has numbers that its result files do not have: python {sys.argv[0]} {path}" if after != before else 0)
    path.write_text(after)
