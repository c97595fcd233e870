"""The memory player of MineSweeper: where the mines lie, given the numbers seen so far."""

import functools
import itertools
import math
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade.environment import Action
from popgym_arcade.environments import board
from popgym_arcade.environments.minesweeper import COVERED, MINE, MineSweeper, MineSweeperGlimpse
from popgym_arcade.players.player import Player


def minesweeper(env: MineSweeper, params: Any) -> Player:
    """Remember all numbers. Uncover the cell that is least likely a mine, the nearest if several are; else wait.

    The first cell is safe. It is a corner: with so few neighbours it is the likeliest to have no mine around, and then
    they are safe, too. A mine takes back what has been gained: a guess has to pay even if all went well after it.
    """
    chances = jax.ShapeDtypeStruct((env.side, env.side), np.float32)
    belief = functools.partial(mine_chances, mines=env.mines)
    corners = np.zeros((env.side, env.side), bool)
    corners[:: env.side - 1, :: env.side - 1] = True
    safe_cells = env.side**2 - env.mines

    def act(key: jax.Array, field: jax.Array, seen: MineSweeperGlimpse) -> tuple[jax.Array, jax.Array]:
        field = jnp.where(seen.field != COVERED, seen.field, field)
        covered = field == COVERED
        risks = jnp.where(covered, jax.pure_callback(belief, chances, field, vmap_method="sequential"), 1.0)
        least = jnp.min(risks)
        choice = jnp.where(jnp.all(covered), corners, risks <= least + 1e-6)
        distances = board.distances(seen.cursor, env.side)
        action = board.walk_and_fire(seen.cursor, jnp.where(choice, distances, 2 * env.side))
        pays = (1 - least) * safe_cells > jnp.sum(~covered)
        return field, jnp.where(pays, action, Action.UP)

    return Player(jnp.full((env.side, env.side), COVERED, jnp.int32), act)


def mine_chances(field: Any, mines: int) -> np.ndarray:
    """Return the probability that a cell hides a mine, for each cell: float32[side, side], 0 where a number is seen.

    Args:
        field: COVERED or what the cell shows, int[side, side].
        mines: how many there are.
    """
    field = np.asarray(field, np.int8)
    return _mine_chances(field.tobytes(), len(field), mines).copy()


@functools.lru_cache(4_096)  # most steps are walks, which tell nothing new
def _mine_chances(shown: bytes, side: int, mines: int) -> np.ndarray:
    field = np.frombuffer(shown, np.int8)
    covered = (field == COVERED) | (field == MINE)
    numbers = field[~covered]
    near = _neighbours(side)[~covered] & covered

    # All ways to lay mines beside the numbers, number by number.
    ways = np.zeros((1, side**2), bool)
    settled = np.zeros(side**2, bool)
    while len(numbers):
        number = np.argmin(np.sum(near & ~settled, 1))  # few branches first
        around, new = near[number], near[number] & ~settled
        subsets = _subsets(int(np.sum(new)))
        sizes = np.sum(subsets, 1)
        missing = numbers[number] - np.sum(ways[:, around], 1)
        fits = (missing[:, None] == sizes) & (np.sum(ways, 1)[:, None] + sizes <= mines)
        way, subset = np.nonzero(fits)
        ways = ways[way]
        ways[:, new] = subsets[subset]
        settled |= new
        numbers, near = np.delete(numbers, number), np.delete(near, number, 0)

    # The mines that are left lie anywhere else, in all ways.
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
