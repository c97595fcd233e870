"""The memory player of MineSweeper: where the mines lie, given the numbers seen so far."""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade.environment import UP
from popgym_arcade.environments import board
from popgym_arcade.environments.minesweeper import COVERED, MINE, MineSweeper, MineSweeperGlimpse
from popgym_arcade.players.player import Player

_HOPE = 0.7
"""The share of the cells left that it can hope to uncover in the end, once a guess has gone well."""


def minesweeper(env: MineSweeper, params: Any) -> Player:
    """Remember all numbers. Uncover the cell that is least likely a mine, if that pays; else wait for the clock.

    The first cell is safe. It is a corner: with so few neighbours it is the likeliest to have no mine around, and then
    they are safe, too. Among equals the nearest comes first, and where several are as near the one that is closest to
    being enclosed, so that few stay behind.
    """
    chances = jax.ShapeDtypeStruct((env.side, env.side), np.float32)
    belief = functools.partial(mine_chances, mines=env.mines)
    corner = np.zeros((env.side, env.side), bool)
    corner[:: env.side - 1, :: env.side - 1] = True
    safe_cells = env.side**2 - env.mines

    def act(key: jax.Array, field: jax.Array, seen: MineSweeperGlimpse) -> tuple[jax.Array, jax.Array]:
        field = jnp.where(seen.field != COVERED, seen.field, field)
        covered = field == COVERED
        risks = jax.pure_callback(belief, chances, field, vmap_method="sequential")
        risks = jnp.where(covered, risks, 1.0)
        least = jnp.min(risks)

        padded = jnp.pad(covered, 1)
        ways_in = sum(padded[row : row + env.side, col : col + env.side].astype(int) for row, col in _BESIDE)
        costs = 4 * board.distances(seen.cursor, env.side) + ways_in
        choice = jnp.where(jnp.all(covered), corner, risks <= least + 1e-6)
        action = board.walk_and_fire(seen.cursor, jnp.where(choice, costs, 1_000))

        # A mine takes back all that is uncovered.
        cleared = jnp.sum(~covered)
        pays = (cleared == 0) | ((1 - least) * (cleared + _HOPE * (safe_cells - cleared)) > cleared)
        return field, jnp.where(pays, action, UP)

    return Player(jnp.full((env.side, env.side), COVERED, jnp.int32), act)


_BESIDE = ((0, 1), (2, 1), (1, 0), (1, 2))
"""Where the four cells beside a cell begin in a padded board."""


def mine_chances(field: Any, mines: int) -> np.ndarray:
    """Return the probability that a cell hides a mine, for each cell: float32[side, side], 0 where a number is seen.

    Args:
        field: COVERED or what the cell shows, int[side, side].
        mines: how many there are.
    """
    field = np.asarray(field, np.int8)
    return _mine_chances(field.tobytes(), len(field), mines)


@functools.lru_cache(4_096)
def _mine_chances(shown: bytes, side: int, mines: int) -> np.ndarray:
    field = np.frombuffer(shown, np.int8)
    covered = (field == COVERED) | (field == MINE)
    near = {cell: _neighbours(side)[cell] & covered for cell in np.flatnonzero(~covered)}

    # All ways to lay mines beside the numbers, number by number.
    ways = np.zeros((1, side**2), bool)
    settled = np.zeros(side**2, bool)
    while near:
        cell = min(near, key=lambda cell: np.sum(near[cell] & ~settled))  # few branches first
        around = near.pop(cell)
        subsets = _subsets(int(np.sum(around & ~settled)))
        sizes = np.sum(subsets, 1)
        missing = field[cell] - np.sum(ways[:, around], 1)
        fits = (missing[:, None] == sizes) & (np.sum(ways, 1)[:, None] + sizes <= mines)
        way, subset = np.nonzero(fits)
        ways = ways[way]
        ways[:, around & ~settled] = subsets[subset]
        settled |= around

    # The mines that are left lie anywhere else.
    elsewhere = covered & ~settled
    left = mines - np.sum(ways, 1)
    room = int(np.sum(elsewhere))
    weights = np.array([math.comb(room, count) for count in range(mines + 1)], float)[left]
    weights /= np.sum(weights)
    chances = np.where(elsewhere, weights @ left / max(room, 1), weights @ ways)
    return chances.reshape(side, side).astype(np.float32)


@functools.cache
def _neighbours(side: int) -> np.ndarray:
    """For each cell which others are beside it, also diagonally: bool[cells, cells]."""
    row, col = np.divmod(np.arange(side**2), side)
    distance = np.maximum(np.abs(row[:, None] - row), np.abs(col[:, None] - col))
    return distance == 1


@functools.cache
def _subsets(size: int) -> np.ndarray:
    """All subsets of so many cells: bool[2**size, size]."""
    return np.array(list(itertools.product((False, True), repeat=size)), bool).reshape(2**size, size)
