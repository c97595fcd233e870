"""Shapes, rasterised with smooth edges in NumPy.

A shape is a function of two coordinate arrays, x to the right and y down, that tells which points lie inside. Shapes
live in the unit square, which `paint` lays over the box it is given.
"""

from collections.abc import Callable

import numpy as np

from popgym_arcade.graphics.palette import Colour

Shape = Callable[[np.ndarray, np.ndarray], np.ndarray]

_SAMPLES = 8  # points per pixel and axis


def tile(height: int, width: int, colour: Colour) -> np.ndarray:
    """Return an image of one colour: uint8[height, width, 3]."""
    return np.full((height, width, 3), colour, np.uint8)


def paint(image: np.ndarray, colour: Colour, shape: Shape) -> np.ndarray:
    """Paint a shape over the whole of `image`, uint8[height, width, 3], in place, and return it."""
    height, width, _ = image.shape
    y = (np.arange(height * _SAMPLES) + 0.5) / (height * _SAMPLES)
    x = (np.arange(width * _SAMPLES) + 0.5) / (width * _SAMPLES)
    inside = np.broadcast_to(shape(x[None, :], y[:, None]), (len(y), len(x)))
    cover = inside.reshape(height, _SAMPLES, width, _SAMPLES).mean((1, 3))[..., None]
    image[:] = np.rint(image + (np.array(colour) - image) * cover)
    return image


def stencil(image: np.ndarray, colour: Colour, mask: np.ndarray, top: int | None = None, left: int | None = None) -> None:
    """Set the pixels of `image` under a bool mask, which is centred where no corner is given."""
    height, width = mask.shape
    top = (image.shape[0] - height) // 2 if top is None else top
    left = (image.shape[1] - width) // 2 if left is None else left
    image[top : top + height, left : left + width][mask] = colour


def frame(image: np.ndarray, colour: Colour, thickness: int) -> np.ndarray:
    """Paint a border of whole pixels inside the edge of `image`, in place, and return it."""
    image[:thickness] = image[-thickness:] = colour
    image[:, :thickness] = image[:, -thickness:] = colour
    return image


def union(*shapes: Shape) -> Shape:
    """The union of shapes."""
    return lambda x, y: np.any(np.stack(np.broadcast_arrays(*(shape(x, y) for shape in shapes))), axis=0)


def minus(shape: Shape, hole: Shape) -> Shape:
    """The difference of two shapes."""
    return lambda x, y: shape(x, y) & ~hole(x, y)


def rectangle(left: float, top: float, right: float, bottom: float) -> Shape:
    """An upright rectangle."""
    return lambda x, y: (x >= left) & (x <= right) & (y >= top) & (y <= bottom)


def rounded(left: float, top: float, right: float, bottom: float, radius: float) -> Shape:
    """An upright rectangle with round corners."""

    def inside(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        dx = np.maximum(np.maximum(left + radius - x, x - right + radius), 0)
        dy = np.maximum(np.maximum(top + radius - y, y - bottom + radius), 0)
        return dx**2 + dy**2 <= radius**2

    return inside


def disc(x0: float, y0: float, radius: float) -> Shape:
    """A disc."""
    return lambda x, y: (x - x0) ** 2 + (y - y0) ** 2 <= radius**2


def ring(x0: float, y0: float, outer: float, inner: float) -> Shape:
    """A disc with a round hole."""
    return minus(disc(x0, y0, outer), disc(x0, y0, inner))


def polygon(*corners: tuple[float, float]) -> Shape:
    """A convex polygon, its corners (x, y) given clockwise as seen on the screen."""

    def inside(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        following = corners[1:] + corners[:1]
        sides = [(bx - ax) * (y - ay) >= (by - ay) * (x - ax) for (ax, ay), (bx, by) in zip(corners, following, strict=True)]
        return np.logical_and.reduce(np.broadcast_arrays(*sides))

    return inside


def bar(x0: float, y0: float, x1: float, y1: float, width: float) -> Shape:
    """A straight stroke with square ends."""
    length = np.hypot(x1 - x0, y1 - y0)
    ux, uy = (x1 - x0) / length, (y1 - y0) / length

    def inside(x: np.ndarray, y: np.ndarray) -> np.ndarray:
        along, across = (x - x0) * ux + (y - y0) * uy, (y - y0) * ux - (x - x0) * uy
        return (along >= 0) & (along <= length) & (np.abs(across) <= width / 2)

    return inside


def cross(margin: float, width: float) -> Shape:
    """An X that keeps `margin` from the edges."""
    near, far = margin, 1 - margin
    return union(bar(near, near, far, far, width), bar(far, near, near, far, width))


def diamond() -> Shape:
    """The suit of diamonds."""
    return polygon((0.5, 0.02), (0.9, 0.5), (0.5, 0.98), (0.1, 0.5))


def heart() -> Shape:
    """The suit of hearts."""
    return union(
        disc(0.28, 0.32, 0.25), disc(0.72, 0.32, 0.25), polygon((0.08, 0.46), (0.5, 0.3), (0.92, 0.46), (0.5, 0.97))
    )


def spade() -> Shape:
    """The suit of spades."""
    leaf = union(
        disc(0.28, 0.54, 0.23), disc(0.72, 0.54, 0.23), polygon((0.5, 0.02), (0.93, 0.43), (0.5, 0.7), (0.07, 0.43))
    )
    return union(leaf, polygon((0.5, 0.55), (0.68, 0.98), (0.32, 0.98)))


def club() -> Shape:
    """The suit of clubs."""
    leaves = union(disc(0.5, 0.26, 0.23), disc(0.25, 0.58, 0.23), disc(0.75, 0.58, 0.23))
    return union(leaves, disc(0.5, 0.48, 0.12), polygon((0.5, 0.5), (0.68, 0.98), (0.32, 0.98)))
