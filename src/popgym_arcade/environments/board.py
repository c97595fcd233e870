"""Shared by games on a square board: moving about, looking up cells, and drawing them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from popgym_arcade.game import Action, Readout, Screen, palette, shapes


def move(position: jax.Array, action: jax.Array, side: int) -> jax.Array:
    """Move a position, int32[2] of (row, col), as the arrows say; the board's edge stops it."""
    row = (action == Action.DOWN).astype(jnp.int32) - (action == Action.UP)
    col = (action == Action.RIGHT).astype(jnp.int32) - (action == Action.LEFT)
    return jnp.clip(position + jnp.stack([row, col]), 0, side - 1)


def at(position: jax.Array, side: int) -> jax.Array:
    """Mark a position, int32[2], on a board: bool[side, side]."""
    lines = np.arange(side, dtype=np.int32)
    return (lines[:, None] == position[0]) & (lines[None, :] == position[1])


def rectangle(corner: tuple[ArrayLike, ArrayLike], size: tuple[ArrayLike, ArrayLike], side: int) -> jax.Array:
    """Mark a rectangle on a board whose rows are words, see `sampling.pack`: uint32[side].

    Args:
        corner: its first (row, column), -1 at least. What lies outside of the board is left out.
        size: its (height, width).
        side: rows and columns of the board, 16 at most.
    """
    (top, left), (height, width) = corner, size
    lines = np.arange(side, dtype=np.int32)
    bits = (np.uint32(1) << jnp.uint32(width)) - np.uint32(1) << jnp.uint32(left + 1) >> np.uint32(1)
    inside = (lines >= top) & (lines < top + height)
    return jnp.where(inside, bits & np.uint32((1 << side) - 1), np.uint32(0))


def look_up(board: jax.Array, position: jax.Array) -> jax.Array:
    """Read what a board of bools or integers holds at a position, int32[2]."""
    here = at(position, len(board))
    return jnp.any(board & here) if board.dtype == bool else jnp.sum(jnp.where(here, board, 0), dtype=board.dtype)


def around(cells: jax.Array) -> jax.Array:
    """Count, for each cell, how many of it and its eight neighbours are True in `cells`, bool[side, side]: int8."""
    side = len(cells)
    padded = jnp.pad(cells.astype(jnp.int8), 1)
    return functools.reduce(jnp.add, [padded[row : row + side, col : col + side] for row in range(3) for col in range(3)])


def distances(position: jax.Array, side: int) -> jax.Array:
    """Count the steps from a position, int32[2], to each cell: int32[side, side]."""
    lines = np.arange(side, dtype=np.int32)
    return jnp.abs(lines - position[0])[:, None] + jnp.abs(lines - position[1])[None, :]


def walk_and_fire(position: jax.Array, costs: jax.Array) -> jax.Array:
    """Return the action, int32[], that leads to the cell of lowest cost, first up or down, and there fires.

    Costs are int32[side, side].
    """
    row, col = jnp.divmod(jnp.argmin(costs), len(costs))
    vertical = jnp.where(row < position[0], Action.UP, Action.DOWN)
    horizontal = jnp.where(col < position[1], Action.LEFT, Action.RIGHT)
    action = jnp.where(row != position[0], vertical, jnp.where(col != position[1], horizontal, Action.FIRE))
    return action.astype(jnp.int32)


def cell(size: int, colour: palette.Colour) -> np.ndarray:
    """Draw an empty cell of `size` pixels, with its share of the grid lines: uint8[size, size, 3]."""
    image = shapes.tile(size, size, colour)
    line = max(1, size // 16)
    image[-line:] = image[:, -line:] = palette.mix(colour, palette.NIGHT, 0.55)
    return image


def inside(image: np.ndarray, share: float = 0.75) -> np.ndarray:
    """The middle of a cell's image, where its mark goes, clear of grid lines and cursor: a view to paint on."""
    size = len(image)
    margin = max(1, round(size * (1 - share) / 2))
    return image[margin : size - margin, margin : size - margin]


def with_cursor(image: np.ndarray) -> np.ndarray:
    """Draw the cursor, a frame, around a copy of a cell's image."""
    return shapes.frame(image.copy(), palette.YELLOW, max(1, round(len(image) / 9)))


def allowance_readout(screen: Screen, allowed: int) -> Readout:
    """Reserve the place that tells how many of the wasted shots that end a game are used up."""
    return screen.status([f"{used}/{allowed}" for used in range(allowed + 1)], palette.ORANGE)
