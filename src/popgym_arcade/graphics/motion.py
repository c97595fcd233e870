"""Things that move smoothly: arrows that grow, a rod that leans, a picture that slides.

Under each lies a table made in NumPy, so that drawing takes a few integer operations per pixel, and gives the same
pixels on every processor.
"""

import dataclasses
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from popgym_arcade.graphics.palette import EDGE, Colour
from popgym_arcade.graphics.screen import Patch, pack, take

_FINE = 16  # steps per pixel of a gauge
_ANGLES = 256  # steps per radian of a rod
_SUB_BITS = 3
_SUB = 1 << _SUB_BITS  # steps per pixel in the smooth edge of a rod


@dataclasses.dataclass(frozen=True, eq=False)
class Gauge:
    """An arrow that grows to the right of its origin for positive readings, and to the left for negative ones.

    Every pixel has a range of arrow lengths for which it is lit. The arrow's shape is in these ranges alone.
    """

    top: int
    left: int
    limit: float
    """The reading at which the arrow reaches its full length."""
    pixels: int
    """That length, along the arrow."""
    first: np.ndarray
    last: np.ndarray
    """The lengths, signed, in 1/16 px, between which a pixel is lit: int16[height, width, 1] both."""
    unlit: np.ndarray
    """uint8[height, width, 3]"""
    colour: Colour
    curved_about_bottom: bool
    """Whether the arrow bends about the middle of the box's lower edge."""

    @classmethod
    def straight(cls, background: np.ndarray, box: tuple[int, int, int, int], limit: float, colour: Colour) -> Self:
        """Draw a horizontal gauge in a box (top, left, height, width) of the background."""
        _, _, height, width = box
        along = np.arange(width)[None, :] - (width - 1) / 2
        across = np.arange(height)[:, None] - (height - 1) / 2
        return cls._build(background, box, limit, width // 2 - 1, along + 0 * across, across + 0 * along, colour)

    @classmethod
    def curved(
        cls, background: np.ndarray, box: tuple[int, int, int, int], limit: float, colour: Colour, thickness: int
    ) -> Self:
        """Draw a gauge in a box of the background, bent about the middle of the box's lower edge."""
        _, _, height, width = box
        x = np.arange(width)[None, :] - (width - 1) / 2
        y = height - 0.5 - np.arange(height)[:, None]
        radius = height - (thickness + 1) / 2
        pixels = int(radius * np.pi / 2)
        return cls._build(
            background, box, limit, pixels, np.arctan2(x, y) * radius, np.hypot(x, y) - radius, colour, thickness
        )

    @classmethod
    def _build(
        cls,
        background: np.ndarray,
        box: tuple[int, int, int, int],
        limit: float,
        pixels: int,
        along: np.ndarray,
        across: np.ndarray,
        colour: Colour,
        thickness: int | None = None,
    ) -> Self:
        top, left, height, width = box
        thickness = height if thickness is None else thickness
        head = thickness * 0.75  # the length of the arrow's head, whose base is as wide as the gauge
        from_axis = np.abs(across)
        from_origin = np.maximum(np.abs(along) - 0.5, 0)
        shortest = from_origin + 1.5 * np.maximum(from_axis - 0.5, 0)
        longest = np.where(from_axis <= thickness / 7, np.inf, from_origin + head)
        shortest = np.where(from_axis <= thickness / 2, shortest, np.inf)
        right = along >= 0
        first = np.where(right, shortest, -longest)
        last = np.where(right, longest, -shortest)
        first, last = (np.clip(np.rint(bound * _FINE), -32767, 32767).astype(np.int16) for bound in (first, last))
        unlit = background[top : top + height, left : left + width]
        axis, origin = from_axis <= max(0.5, thickness / 14), (from_origin <= 0.5) & (from_axis <= thickness / 2)
        unlit[axis | origin] = EDGE  # a scale
        curved = bool(np.ptp(along[:, -1]))
        return cls(top, left, limit, pixels, first[..., None], last[..., None], unlit, colour, curved)

    def show(self, reading: jax.Array) -> Patch:
        """Show a reading, float32[]; one beyond the limit looks as the limit does."""
        length = jnp.rint(jnp.clip(reading / self.limit, -1, 1) * (self.pixels * _FINE)).astype(jnp.int16)

        def lit(first: np.ndarray, last: np.ndarray) -> jax.Array:
            return (length >= first) & (length <= last) & (length != 0)

        def colours(rows: np.ndarray, cols: np.ndarray) -> jax.Array:
            first, last = (bound[rows[:, None], cols, 0] for bound in (self.first, self.last))
            return jnp.where(lit(first, last), pack(np.array(self.colour)), pack(self.unlit)[rows[:, None], cols])

        image = jnp.where(lit(self.first, self.last), jnp.asarray([[self.colour]], jnp.uint8), self.unlit)
        return Patch(self.top, self.left, image, colours)


@dataclasses.dataclass(frozen=True, eq=False)
class Rod:
    """A straight rod with one end on a pivot in the lowest row of a box, over a background of one colour."""

    top: int
    left: int
    height: int
    width: int
    length: int
    """From pivot to tip, in pixels."""
    thickness: int
    colour: Colour
    background: Colour

    def show(self, pivot: jax.Array, angle: jax.Array, visible: jax.Array) -> Patch:
        """Show the rod.

        Args:
            pivot: the column of the pivot, int32[], from the left of the box.
            angle: in radians, float32[], 0 upright, positive to the right; at most a right angle is shown.
            visible: whether it is shown at all, bool[].
        """
        # A rod meets each row of pixels in one interval: between its two long sides, and between its two ends.
        steps = np.arange(-round(np.pi / 2 * _ANGLES) + 2, round(np.pi / 2 * _ANGLES) - 1) / _ANGLES
        sine = np.where(steps == 0, 1 / 4096, np.sin(steps))  # no division by zero: the ends of an upright rod are level
        cosine = np.cos(steps)
        scale = 64  # of the slopes
        half_width, length = self.thickness / 2 * _SUB, self.length * _SUB
        rows = np.tan(steps) * scale, half_width / cosine, cosine / sine * scale, length / np.abs(sine)
        table = jnp.asarray(np.rint(np.stack(rows)).astype(np.int32))
        index = jnp.clip(jnp.rint(angle * _ANGLES), steps[0] * _ANGLES, steps[-1] * _ANGLES).astype(jnp.int32)
        slope, half, end_slope, end = table[:, index - round(steps[0] * _ANGLES)]

        up = np.arange(self.height)[::-1, None, None] * _SUB + _SUB // 2  # of each row over the pivot
        middle = (up * slope) // scale
        foot = -(up * end_slope) // scale  # where the pivot's end cuts the row
        right = index >= 0
        left_side = jnp.maximum(middle - half, jnp.where(right, foot, foot - end))
        right_side = jnp.minimum(middle + half, jnp.where(right, foot + end, foot))

        bound = 16000
        origin = pivot * _SUB
        left_side = jnp.clip(left_side + origin, -bound, bound).astype(jnp.int16)
        right_side = jnp.where(visible, jnp.clip(right_side + origin, -bound, bound), -bound).astype(jnp.int16)

        half_pixel = np.int16(_SUB // 2)

        def cover(columns: np.ndarray, left_side: jax.Array, right_side: jax.Array) -> jax.Array:
            columns = columns.astype(np.int16) * np.int16(_SUB)
            return jnp.clip(jnp.minimum(columns - left_side, right_side - columns) + half_pixel, 0, _SUB)

        unlit = np.array([[self.background]], np.int16)
        change = np.array([[self.colour]], np.int16) - unlit

        def mix(cover: jax.Array | np.ndarray) -> jax.Array | np.ndarray:
            return (cover * change >> _SUB_BITS) + unlit

        mixed = pack(np.asarray(mix(np.arange(_SUB + 1)[:, None, None]))[:, 0])

        def colours(rows: np.ndarray, cols: np.ndarray) -> jax.Array:
            sides = (side[rows, 0] for side in (left_side, right_side))
            return take(mixed, cover(cols[None, :], *sides).astype(jnp.uint32))

        image = mix(cover(np.arange(self.width)[None, :, None], left_side, right_side))
        return Patch(self.top, self.left, jnp.asarray(image).astype(jnp.uint8), colours)


@dataclasses.dataclass(frozen=True, eq=False)
class Slider:
    """A picture that slides along a band of the screen, over a background of one colour."""

    top: int
    left: int
    width: int
    """Of the band, in pixels."""
    picture: np.ndarray
    """uint8[height, odd width, 3]"""
    background: Colour

    def show(self, middle: jax.Array, visible: jax.Array) -> Patch:
        """Show the picture around column `middle`, int32[], of the band, clipped where the band ends, or nothing."""
        height, width, _ = self.picture.shape
        blank = np.full((height, self.width, 3), self.background, np.uint8)
        strip = np.concatenate([blank, self.picture, blank, blank], 1)
        first = jnp.where(visible, self.width + width // 2 - middle, self.width + width)
        image = lax.dynamic_slice_in_dim(jnp.asarray(strip), first, self.width, axis=1)

        def colours(rows: np.ndarray, cols: np.ndarray) -> jax.Array:
            return take(pack(strip.reshape(-1, 3)), first.astype(jnp.uint32) + (rows[:, None] * strip.shape[1] + cols))

        return Patch(self.top, self.left, image, colours)
