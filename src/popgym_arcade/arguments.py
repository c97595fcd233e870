"""Numbers on the command line, for argparse: what is out of range is refused with what is allowed."""

import argparse
from collections.abc import Callable
from typing import TypeVar

from popgym_arcade import checks

_Number = TypeVar("_Number", int, float)


def integer(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return a parser of whole numbers from `low` to `high`; if `high` is left out, there is no limit."""
    return _parser(int, "whole number", low, high)


def real(low: float, high: float) -> Callable[[str], float]:
    """Return a parser of numbers from `low` to `high`."""
    return _parser(float, "number", low, high)


def _parser(kind: type[_Number], name: str, low: float, high: float | None) -> Callable[[str], _Number]:
    def parse(text: str) -> _Number:
        value = kind(text)
        try:
            checks.in_range("it", value, low, high)
        except ValueError as error:
            raise argparse.ArgumentTypeError(str(error)) from None
        return value

    parse.__name__ = name  # in the errors of argparse
    return parse


seed_number = integer(0, checks.SEEDS - 1)
"""A parser of seeds."""
