"""Shapes of records: functions are checked wherever they are called, the fields of a NamedTuple are not."""

import typing
from typing import Any

import jaxtyping
from beartype.door import is_bearable


def assert_true_to_its_annotations(record: Any) -> None:
    """One name of a dimension means one size in all fields."""
    hints = typing.get_type_hints(type(record), include_extras=True)
    with jaxtyping.jaxtyped("context"):
        for name in reversed(record._fields):  # T before T+1
            value = getattr(record, name)
            assert is_bearable(value, hints[name]), (name, hints[name], value)
