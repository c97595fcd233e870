"""Numbers on the command line, for argparse: what is out of range is refused with what is allowed."""

import argparse
import math
from collections.abc import Callable

SEEDS = 1 << 32
"""Seeds are integers from 0 to SEEDS - 1: of larger ones JAX takes the lower 32 bits, and plays the same again."""


def integer(low: int, high: int | None = None) -> Callable[[str], int]:
    """Return a parser of whole numbers from `low` to `high`; if `high` is left out, there is no limit."""

    def parse(text: str) -> int:
        value = int(text)
        _check(text, value, low, high)
        return value

    parse.__name__ = "whole number"  # named in the errors of argparse
    return parse


def real(low: float, high: float) -> Callable[[str], float]:
    """Return a parser of numbers from `low` to `high`."""

    def parse(text: str) -> float:
        value = float(text)
        _check(text, value, low, high)
        return value

    parse.__name__ = "number"
    return parse


seed_number = integer(0, SEEDS - 1)
"""A parser of seeds."""


def _check(text: str, value: float, low: float, high: float | None) -> None:
    if not low <= value <= (math.inf if high is None else high):
        allowed = f"at least {low}" if high is None else f"from {low} to {high}"
        raise argparse.ArgumentTypeError(f"must be {allowed}, got {text}")
