"""Numbers and names on the command line, for argparse: what is not allowed is refused with what is."""

import argparse
from collections.abc import Callable
from typing import TypeVar

from popgym_arcade import checks, registration

_Number = TypeVar("_Number", int, float)


def integer(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return a parser of whole numbers from `low` to `high`; if `high` is left out, there is no limit."""
    return _parser(int, "whole number", low, high)


def real(low: float, high: float) -> Callable[[str], float]:
    """Return a parser of numbers from `low` to `high`."""
    return _parser(float, "number", low, high)


def env_id(text: str) -> str:
    """Parse the name of an environment."""
    try:
        registration.make(text)
    except ValueError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return text


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


figure_help = "a name ending in .png, .pdf or .svg; the numbers go into a .csv file beside it"
"""What is said of options that name a figure, see `figures.save_with_table`."""

seed_number = integer(0, checks.SEEDS - 1)
"""A parser of seeds."""
