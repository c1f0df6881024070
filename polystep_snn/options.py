"""Options of a run in groups: frozen dataclasses of plain values that check themselves. Needs no torch.

Each group stands beside what it configures; ``training/config.py`` puts them together. A field is an option of ``polystep-snn train``,
with the same name and default.
"""

from dataclasses import MISSING, field, fields
from reprlib import repr as shown
from typing import Any, NamedTuple

from polystep_snn.errors import InputError

LARGEST_COUNT = 2**24


class Range(NamedTuple):
    """Numbers that an option may have.

    Attributes:
        low, high: the smallest and the largest one.
        words: what a message asks for.
        below: whether ``high`` itself is too large.
    """

    low: float
    high: float
    words: str
    below: bool = False

    def holds(self, value: float) -> bool:
        """Whether a number is one of them; NaN is not."""
        return self.low <= value < self.high if self.below else self.low <= value <= self.high


def up_to(high: float, low: int = 0) -> Range:
    """Numbers from ``low`` to ``high``."""
    return Range(low, high, f"a number from {low} to {high}")


COUNT = up_to(LARGEST_COUNT, low=1)
# What float32 represents with room to spare, and what nobody means.
POSITIVE = Range(1e-30, 1e30, f"a positive number, from {1e-30} to {1e30}")
FRACTION = Range(0, 1, "a fraction from 0 to 1")
# Neither nothing nor all, nor what float32 takes for that.
SHARE = Range(1e-6, 1 - 1e-6, "a number between 0 and 1")


def option(default: Any, help: str, choices: tuple[Any, ...] | None = None, range: Range | None = None, layers: bool = False) -> Any:
    """A field of a group.

    Args:
        default: its value where none is given; its type is the option's.
        help: what ``--help`` says.
        choices: the values that it may have.
        range: the numbers that it may have.
        layers: whether a tuple may hold names of layers beside whole numbers.
    """
    return field(default=default, metadata={"help": help, "choices": choices, "range": range, "layers": layers})


class Options:
    """Base of the groups: values of the right types, among their choices and within their ranges."""

    def __post_init__(self):
        for declared in fields(self):  # type: ignore[arg-type]  # every group is a dataclass
            self._take(declared.name, declared.default)
            value, choices, range = (getattr(self, declared.name), *(declared.metadata.get(name) for name in ("choices", "range")))
            if choices and value not in choices:
                raise InputError(f"{declared.name} is {shown(value)}: choose {_one_of(choices)}")
            if range and not range.holds(value):
                raise InputError(f"{declared.name} is {shown(value)}: choose {range.words}")

    def _take(self, name: str, default: Any) -> None:
        """InputError unless a value has the type of its default; whole numbers stand for floats, and one number for a tuple of it."""
        value = getattr(self, name)
        layers = next(f.metadata.get("layers", False) for f in fields(self) if f.name == name)  # type: ignore[arg-type]
        kind = str if default is MISSING else type(default)
        if kind is float and isinstance(value, int) and not isinstance(value, bool):
            object.__setattr__(self, name, _as_float(name, value))
        elif kind is tuple and isinstance(value, int) and not isinstance(value, bool):
            object.__setattr__(self, name, (value,))
        elif kind is tuple and isinstance(value, list | tuple):
            kinds = (int, str) if layers else (int,)
            if not all(isinstance(n, kinds) and not isinstance(n, bool) for n in value):
                raise InputError(f"{name} is {shown(list(value))}: give whole numbers" + (", or layers such as 16c5" if layers else ""))
            object.__setattr__(self, name, tuple(value))
        elif not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise InputError(f"{name} is {shown(value)}: give a value of type {kind.__name__}")

    def changed(self, names: tuple[str, ...]) -> str | None:
        """The first of some options that is not at its default."""
        defaults = {f.name: f.default for f in fields(self)}  # type: ignore[arg-type]
        return next((name for name in defaults if name in names and getattr(self, name) != defaults[name]), None)


def _as_float(name: str, value: int) -> float:
    try:
        return float(value)
    except OverflowError:
        raise InputError(f"{name} is a number of {value.bit_length()} bits: choose a smaller one") from None


def _one_of(choices: tuple[Any, ...]) -> str:
    if all(isinstance(choice, str) for choice in choices):
        return f"one of {', '.join(choices)}"
    return " or ".join(map(str, choices))
