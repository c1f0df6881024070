"""Numbers and figures of the benchmarks' result files, so that no number is typed twice.

Pages under ``docs/benchmarks`` are Jinja templates: ``result("mnist-default")`` is a result file, and the functions below write its
numbers.
"""

import json
import statistics
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

ROOT = Path(__file__).parents[2]
RESULTS = ROOT / "benchmarks" / "results"


def names() -> list[str]:
    """Every result file, without its ending."""
    return sorted(str(path.relative_to(RESULTS).with_suffix("")) for path in RESULTS.rglob("*.json"))


def result(name: str) -> dict[str, Any]:
    """One of them."""
    return json.loads((RESULTS / f"{name}.json").read_text())


def lookup(name: str, path: str) -> Any:
    """A value of a result file: ``methods/polystep/accuracy_mean``; a number in the path is an index of a list."""
    value: Any = result(name)
    for key in path.split("/"):
        value = value[int(key)] if isinstance(value, list) else value[key]
    return value


def fixed(value: float | None, digits: int = 2) -> str:
    """A number with so many decimals, thousands apart; a dash for none."""
    return "–" if value is None else f"{value:,.{digits}f}"


def spread(entry: dict[str, Any], key: str = "accuracy", digits: int = 2, unit: str = " %", worst: str = "min") -> str:
    """Mean and standard deviation over runs, and the worst one where it is known."""
    mean, deviation, least = entry[f"{key}_mean"], entry.get(f"{key}_std"), entry.get(f"{key}_{worst}")
    text = fixed(mean, digits) + (f" ± {fixed(deviation, digits)}" if deviation else "") + unit
    return text + (f" ({fixed(least, digits)})" if least is not None and deviation else "")


def seeds(content: dict[str, Any], method: str = "polystep") -> int:
    """How many runs a result holds of a method."""
    runs = content.get("runs", [])
    if isinstance(runs, dict):
        return len(runs[method])
    return sum(run.get("method", method) == method for run in runs)


def flat(value: Any, name: str = "") -> dict[str, Any]:
    """The plain values of a nested one, by their path; lists stay out."""
    if isinstance(value, dict):
        return {path: leaf for key, inner in value.items() for path, leaf in flat(inner, f"{name}/{key}" if name else key).items()}
    return {name: value} if isinstance(value, int | float | str) and not isinstance(value, bool) else {}


def catalogue() -> str:
    """Every result file with the machine that it is of, and the plain values of each method."""
    parts = []
    for name in names():
        content = result(name)
        machine = content.get("machine", {})
        title = ", ".join(str(machine[key]) for key in ("cpu", "torch") if machine.get(key))
        threads = machine.get("threads")
        lines = [f"## {name}", "", f"{title}, {threads} thread{'s' if threads != 1 else ''}" if title else "", ""]
        values = flat(content.get("methods") or {})
        if values:
            lines += ["| | |", "| --- | --- |", *(f"| `{path}` | {_plain(leaf)} |" for path, leaf in values.items())]
        elif content.get("points"):
            keys = list(content["points"][0])
            lines += ["| " + " | ".join(f"`{key}`" for key in keys) + " |", "|" + " --- |" * len(keys)]
            lines += ["| " + " | ".join(_plain(point[key]) for key in keys) + " |" for point in content["points"]]
        parts.append("\n".join(lines))
    return "\n\n".join(parts)


def _plain(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) and abs(value) < 1e4 else str(value).replace("|", "\\|")


def environment() -> Environment:
    """What the templates can call."""
    made = Environment(undefined=StrictUndefined, keep_trailing_newline=True)
    made.filters |= {"fixed": fixed}
    made.globals |= {"result": result, "spread": spread, "seeds": seeds, "catalogue": catalogue, "mean": statistics.mean, "max": max}
    return made


def on_page_markdown(markdown: str, page, **_) -> str:
    """Fill in the numbers of a benchmark's page."""
    return environment().from_string(markdown).render() if page.file.src_uri.startswith("benchmarks/") else markdown
