"""What every benchmark does alike: the machine it ran on, the table it prints, the JSON it writes."""

import argparse
import importlib.util
import json
import os
import platform
import statistics
import sys
from pathlib import Path
from typing import Any

import torch

from polystep_snn import files

RESULTS = Path(__file__).parent / "results"


def positive(text: str) -> int:
    """A whole number of at least 1, as a ``type`` of argparse."""
    number = int(text)
    if number < 1:
        raise argparse.ArgumentTypeError(f"{number} is too few: choose at least 1")
    return number


def require(parser: argparse.ArgumentParser, *packages: str) -> None:
    """End with a message, before anything is measured, where a package is missing."""
    for package in packages:
        if not importlib.util.find_spec(package):
            parser.error(f"{package} is not installed: pip install {package}")


def machine() -> dict[str, Any]:
    """Processor, cores, threads and versions, so that a figure can be judged."""
    name = platform.processor() or platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
        name = next(line.split(":", 1)[1].strip() for line in lines if line.startswith("model name"))
    except (OSError, StopIteration):
        pass
    return {
        "cpu": name,
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "gpu": torch.cuda.get_device_name() if torch.cuda.is_available() else None,
        "torch": torch.__version__,
        "python": platform.python_version(),
    }


def table(rows: list[dict[str, Any]]) -> str:
    """Rows of equal keys as a Markdown table."""
    heads = list(rows[0])
    cells = [heads, *([str(row[h]) for h in heads] for row in rows)]
    widths = [max(len(row[k]) for row in cells) for k in range(len(heads))]
    lines = ["| " + " | ".join(c.ljust(w) for c, w in zip(row, widths, strict=True)) + " |" for row in cells]
    return "\n".join([lines[0], "|" + "|".join("-" * (w + 2) for w in widths) + "|", *lines[1:]])


def spread(name: str, values: list[float], digits: int = 3, of_one: float | None = 0.0) -> dict[str, float | None]:
    """Mean and standard deviation over seeds, as ``NAME_mean`` and ``NAME_std``; ``of_one``: the deviation of a single value."""
    deviation = round(statistics.stdev(values), digits) if len(values) > 1 else of_one
    return {f"{name}_mean": round(statistics.mean(values), digits), f"{name}_std": deviation}


def report(name: str, methods: dict[str, dict[str, Any]], rows: list[dict[str, Any]], details: dict[str, Any], as_json: bool) -> None:
    """Print the table (for people, on standard error) and one JSON line if asked; write both under ``results/``."""
    print(f"\n{name}\n\n{table(rows)}", file=sys.stderr)
    if as_json:
        print(json.dumps(methods), flush=True)
    RESULTS.mkdir(exist_ok=True)
    files.write_text(RESULTS / f"{name}.json", json.dumps({"methods": methods, "machine": machine(), **details}, indent=1) + "\n")
