"""Checks of what users give. The errors name what was given, what is allowed, and, for names, what comes closest."""

import dataclasses
import difflib
import math
from collections.abc import Iterable, Sequence
from typing import Any, Literal, get_args, get_origin, get_type_hints

import numpy as np

SEEDS = 1 << 32
"""Seeds are integers from 0 to SEEDS - 1: of larger ones JAX takes the lower 32 bits, and plays the same again."""
_OFFERED = 3
_SPELLED = {int: "a whole number", float: "a number", str: "a text", bool: "true or false", type(None): "null"}


def integer(name: str, value: Any, low: int, high: int | None = None) -> int:
    """Return a value as an int.

    Args:
        name: what the value is of, for the error.
        value: an int, or an integer of NumPy; truth values are none.
        low: the least that is allowed.
        high: the most that is allowed; None, if there is no limit.

    Raises:
        TypeError: if it is no integer.
        ValueError: if it is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int | np.integer):
        raise TypeError(f"{name} must be an int {'of ' if high is None else ''}{_allowed(low, high)}, got {value!r}")
    in_range(name, int(value), low, high)
    return int(value)


def in_range(name: str, value: float, low: float, high: float | None = None) -> None:
    """Compare a number with its range.

    Raises:
        ValueError: if it is not from `low` to `high`, or, where `high` is None, at least `low`; nan is neither.
    """
    if not low <= value <= (math.inf if high is None else high):
        raise ValueError(f"{name} must be {_allowed(low, high)}, got {value}")


def _allowed(low: float, high: float | None) -> str:
    """Spell a range: "from 0 to 1", or "at least 1"."""
    return f"at least {low}" if high is None else f"from {low} to {high}"


def one_of(what: str, name: Any, known: Iterable[str]) -> str:
    """Return a name.

    Args:
        what: what the name should be of, e.g. "environment", for the error.
        name: a name, or anything else.
        known: all names there are, at least one.

    Raises:
        ValueError: if it is none of them; the error offers those that come closest, whatever their case.
    """
    known = list(known)
    if not isinstance(name, str) or name not in known:
        raise ValueError(f"unknown {what} {name!r}; did you mean {closest(str(name), known)}?")
    return name


def closest(name: str, known: Iterable[str]) -> str:
    """Spell the names that come closest to one, whatever their case: "a, b or c"."""
    by_lower = {one.lower(): one for one in known}
    found = difflib.get_close_matches(name.lower(), by_lower, n=_OFFERED, cutoff=0.0)
    return _either([by_lower[one] for one in found])


def fields(settings: Any) -> None:
    """Compare the fields of a dataclass with the types that they declare, as far as `_fits` knows those.

    Raises:
        TypeError: if a value has another type.
    """
    kinds = get_type_hints(type(settings))
    for field in dataclasses.fields(settings):
        value = getattr(settings, field.name)
        if not _fits(value, kinds[field.name]):
            raise TypeError(f"{field.name} must be {_spell(kinds[field.name])}, got {value!r}")


def _fits(value: Any, kind: Any) -> bool:
    """Whether a value is of a type: bool, int, float, which ints are, too, str, a Literal of strings, or a union of these.

    True, if the type is of another kind.
    """
    options = get_args(kind)
    if get_origin(kind) is Literal:
        return value in options
    if options:
        return any(_fits(value, option) for option in options)
    if kind not in _SPELLED:
        return True
    if kind is float:
        kind = int | float
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _spell(kind: Any) -> str:
    """Spell such a type: "a whole number or null"."""
    if get_origin(kind) is Literal:
        return _either(get_args(kind))
    return _either([_spell(option) for option in get_args(kind)] or [_SPELLED[kind]])


def _either(options: Sequence[str]) -> str:
    """Spell a choice: "a, b or c"."""
    *others, last = options
    return f"{', '.join(others)} or {last}" if others else last
