"""Arrays on their way into JavaScript: how each of their elements is written as an expression."""

from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import numpy as np

Index = int | str
"""A number known at export, or a JavaScript expression of whole numbers."""

ARRAYS = {
    np.dtype(np.bool_): "Uint8Array",
    np.dtype(np.int8): "Int8Array",
    np.dtype(np.uint8): "Uint8Array",
    np.dtype(np.int16): "Int16Array",
    np.dtype(np.uint16): "Uint16Array",
    np.dtype(np.int32): "Int32Array",
    np.dtype(np.uint32): "Uint32Array",
    np.dtype(np.float32): "Float32Array",
}
"""The typed array that holds a dtype."""


class UnsupportedError(ValueError):
    """A function does something that cannot be written in JavaScript yet."""


class Place(NamedTuple):
    """Where the elements of an array lie."""

    buffer: str
    """The name of a flat typed array."""
    length: int
    """That of the buffer."""
    offset: Index
    strides: tuple[int, ...]


class Value(NamedTuple):
    """An array, or a number, which has no axes."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]
    at: Callable[[Sequence[Index]], str]
    """Returns the expression of an element, which can be put anywhere without brackets."""
    reads: frozenset[str] = frozenset()
    """The buffers that the expression reads."""
    is_cheap: bool = False
    """Whether writing the expression twice costs no more than storing what it yields."""
    place: Place | None = None
    """Where it lies, if it is stored."""

    @property
    def size(self) -> int:
        """The number of elements."""
        return int(np.prod(self.shape))

    @property
    def is_whole(self) -> bool:
        """Whether it is all of a buffer."""
        return self.place == Place(self.place.buffer, self.size, 0, strides(self.shape)) if self.place else False

    def seen_as(self, shape: Sequence[int], index: Callable[[Sequence[Index]], Sequence[Index]]) -> "Value":
        """Return an array of another shape whose element at an index is this one's at `index` of it."""
        return Value(self.dtype, tuple(shape), lambda place: self.at(index(place)), self.reads, self.is_cheap)

    def moved(self, shape: Sequence[int], offsets: Sequence[Index], steps: Sequence[tuple[int, int]]) -> "Value":
        """Return an array that reads this one in steps.

        Args:
            shape: that of the new array.
            offsets: where it begins, for each axis of this one.
            steps: for each axis of the new array an axis of this one and how far a step goes along it.
        """
        if self.place is not None:
            start = total(times(offset, stride) for offset, stride in zip(offsets, self.place.strides, strict=True))
            new_strides = tuple(self.place.strides[axis] * step for axis, step in steps)
            place = self.place._replace(offset=plus(self.place.offset, start), strides=new_strides)
            return stored(self.dtype, shape, place)

        def index(place: Sequence[Index]) -> list[Index]:
            found = list(offsets)
            for at, (axis, step) in zip(place, steps, strict=True):
                found[axis] = plus(found[axis], times(at, step))
            return found

        return self.seen_as(shape, index)

    def part(self, shape: Sequence[int], offsets: Sequence[Index]) -> "Value":
        """Return the part of such a shape that begins at an index."""
        return self.moved(shape, offsets, [(axis, 1) for axis in range(len(self.shape))])


def stored(dtype: Any, shape: Sequence[int], place: Place | str) -> Value:
    """Return an array that lies somewhere; a name stands for a whole buffer."""
    shape = tuple(shape)
    where = Place(place, int(np.prod(shape)), 0, strides(shape)) if isinstance(place, str) else place

    def at(index: Sequence[Index]) -> str:
        steps = (times(each, stride) for each, stride in zip(index, where.strides, strict=True))
        return f"{where.buffer}[{plus(where.offset, total(steps))}]"

    return Value(np.dtype(dtype), shape, at, frozenset({where.buffer}), True, where)


def constant(dtype: Any, shape: Sequence[int], expression: str) -> Value:
    """Return an array all elements of which are one number, given by its name or as a literal."""
    return Value(np.dtype(dtype), tuple(shape), lambda index: expression, is_cheap=True)


def literal(value: Any) -> str:
    """Write a number."""
    number = np.asarray(value)[()]
    if isinstance(number, np.floating):
        if np.isnan(number):
            return "NaN"
        if np.isinf(number):
            return "Infinity" if number > 0 else "(-Infinity)"
        text = repr(float(number)).removesuffix(".0")
    else:
        text = str(int(number))
    return f"({text})" if text.startswith("-") else text


def strides(shape: Sequence[int]) -> tuple[int, ...]:
    """Return the steps between neighbours along each axis of an array that lies in one piece."""
    return tuple(int(np.prod(shape[axis + 1 :])) for axis in range(len(shape)))


def plus(one: Index, other: Index) -> Index:
    """Add two indices."""
    if isinstance(one, int) and isinstance(other, int):
        return one + other
    return other if one == 0 else one if other == 0 else f"{one} + {other}"


def times(index: Index, factor: int) -> Index:
    """Multiply an index."""
    if isinstance(index, int):
        return index * factor
    simple = index if index.isidentifier() else f"({index})"
    return 0 if factor == 0 else index if factor == 1 else f"{simple} * {factor}"


def total(indices: Any) -> Index:
    """Add up indices."""
    found: Index = 0
    for index in indices:
        found = plus(found, index)
    return found
