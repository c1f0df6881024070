"""What the reference promises: every public name is in it, and says what goes in, in which shape, and what can go wrong."""

import inspect
import re
from pathlib import Path

import pytest

import polystep_snn
from polystep_snn.errors import InputError

ROOT = Path(__file__).parents[2]
PAGES = sorted((ROOT / "docs" / "reference" / "python").glob("*.md"))
NAMES = sorted({name for page in PAGES for name in re.findall(r"^::: (\S+)$", page.read_text(), re.MULTILINE)})
# Protocols and ``**options`` have no names of their own; an axis and its title are every plot's.
SELF_EVIDENT = {"self", "cls", "args", "kwargs", "ax", "title", "color"}
_ARRAYS = re.compile(r"\b(Tensor|ndarray)\b")
_SHAPE = re.compile(r"\[[^\]]*\]|\b(shape|scalar|state_dict|whatever|any)\b", re.IGNORECASE)


def found(name):
    """The object of a dotted name, below the longest part of it that is a module."""
    parts = name.split(".")
    for end in range(len(parts), 0, -1):
        try:
            value = __import__(".".join(parts[:end]), fromlist=["_"])
        except ModuleNotFoundError:
            continue
        for part in parts[end:]:
            value = getattr(value, part)
        return value
    raise ModuleNotFoundError(name)


def members(name):
    """An object and what is public in it, as ``(name, object, docstrings that speak of its parameters)``."""
    value = found(name)
    if inspect.ismodule(value):
        for key, inner in vars(value).items():
            if inspect.isfunction(inner) and inner.__module__ == value.__name__ and not key.startswith("_"):
                yield f"{name}.{key}", inner, inspect.getdoc(inner) or ""
        return
    own = "\n".join(base.__doc__ or "" for base in getattr(value, "__mro__", [value])[:-1] or [value] if base is not tuple)
    yield name, value, own
    if not inspect.isclass(value):
        return
    for key, inner in vars(value).items():
        method = getattr(inner, "__func__", inner.fget if isinstance(inner, property) else inner)
        if not key.startswith("_") and inspect.isfunction(method):
            # What a method does may be said where it is first declared.
            said = method.__doc__ or next((inspect.getdoc(getattr(base, key)) for base in value.__mro__[1:] if hasattr(base, key)), "")
            yield f"{name}.{key}", method, f"{said}\n{referred(value, key, said)}\n{own}" if said else ""


def referred(value, key, said):
    """What a method's "See ``Feed``" leads to: the same method there."""
    other = re.search(r"See ``(\w+)``", said or "")
    there = getattr(inspect.getmodule(value), other[1], None) if other else None
    return inspect.getdoc(getattr(there, key, None)) or ""


def told(key, text):
    """Whether a parameter is spoken of, by its name or by a word of it: ``num_steps`` by steps, ``labels`` by a label."""
    words = [key, *(word.rstrip("s") for word in key.split("_") if len(word) > 2)]
    return any(re.search(rf"\b{re.escape(word)}", text, re.IGNORECASE) for word in words)


def parameters(value):
    """Names and annotations of what a function or a class takes."""
    if inspect.isclass(value):
        if issubclass(value, tuple) and hasattr(value, "_fields"):
            return {key: str(value.__annotations__.get(key, "")) for key in value._fields}
        if "__init__" not in vars(value) and not hasattr(value, "__dataclass_fields__"):
            return {}
    signature = inspect.signature(value)
    return {key: str(p.annotation) for key, p in signature.parameters.items() if key not in SELF_EVIDENT and not key.startswith("_")}


def raises_directly(value):
    try:
        return "raise InputError" in inspect.getsource(value)
    except (OSError, TypeError):
        return False


def flaws(name, value, text):
    if not text.strip():
        return [f"{name} has no docstring"]
    wanted = parameters(value)
    # An option of a run tells of itself, for ``--help``.
    options = getattr(value, "__dataclass_fields__", {})
    silent = [key for key in wanted if not told(key, text) and not (key in options and options[key].metadata.get("help"))]
    result = [f"{name} does not tell of {', '.join(silent)}"] if silent else []
    arrays = [key for key, annotation in wanted.items() if _ARRAYS.search(annotation)]
    if arrays and not _SHAPE.search(text):
        result.append(f"{name} does not tell the shape of {', '.join(arrays)}")
    if not inspect.isclass(value) and raises_directly(value) and "InputError" not in text:
        result.append(f"{name} does not tell of InputError")
    return result


def test_every_public_name_is_in_the_reference():
    listed = {found(name) for name in NAMES if not inspect.ismodule(found(name))}
    missing = [name for name in polystep_snn.__all__ if name != "__version__" and getattr(polystep_snn, name) not in listed]
    assert not missing


@pytest.mark.parametrize("name", NAMES)
def test_a_public_name_says_what_it_takes(name):
    assert not [flaw for member in members(name) for flaw in flaws(*member)]


def test_the_check_finds_what_is_missing():
    from torch import Tensor

    def silent(first: Tensor, second: int):
        """Adds ``first``."""
        raise InputError("no")

    found = flaws("silent", silent, inspect.getdoc(silent))
    assert found == [
        "silent does not tell of second",
        "silent does not tell the shape of first",
        "silent does not tell of InputError",
    ]
