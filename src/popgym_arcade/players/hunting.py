"""The memory player of BattleShip: where the ships lie, given the marks seen so far.

A belief is found in two steps. The hits are explained in all possible ways, each of which says which ship lies where on
them. No hit is left for the other ships; how they lie is told from how they keep out of each other's way, two by two. That
is a good guess, not the truth, where three or more are left: on the boards of the game probabilities are off by some 0.02,
and to make them more exact changed returns by less than 0.002.
"""

import functools
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade.environments import board
from popgym_arcade.environments.battleship import HIT, MISS, SEA, SHIPS, BattleShip, BattleShipGlimpse
from popgym_arcade.players.player import Player

_STEP_PRICE = np.float32(0.001)
"""The price of one step of the way to a cell, in chances to hit. The clock is generous: it settles ties, little more."""


def battleship(env: BattleShip, params: Any) -> Player:
    """Remember all marks, and shoot where a hit is likeliest.

    A hit pays so much more than a miss costs that stopping early never pays.
    """
    chances = jax.ShapeDtypeStruct((env.side, env.side), np.float32)

    def act(key: jax.Array, marks: jax.Array, seen: BattleShipGlimpse) -> tuple[jax.Array, jax.Array]:
        marks = jnp.where(seen.marks != SEA, seen.marks, marks)
        gain = jax.pure_callback(ship_chances, chances, marks, vmap_method="sequential")
        gain -= _STEP_PRICE * board.distances(seen.cursor, env.side)
        costs = jnp.where(marks == SEA, -1e6 * gain, 1e9).astype(jnp.int32)
        return marks, board.walk_and_fire(seen.cursor, costs)

    return Player(jnp.full((env.side, env.side), SEA, jnp.int32), act)


def ship_chances(marks: Any) -> np.ndarray:
    """Return the probability that a ship lies on a cell, for each cell: float32[side, side].

    Args:
        marks: SEA, MISS or HIT for each cell, int[side, side].
    """
    marks = np.asarray(marks, np.int8)
    return _ship_chances(marks.tobytes(), len(marks)).copy()


class _Ways(NamedTuple):
    """The ways in which the ships can lie on an empty board."""

    cells: dict[int, np.ndarray]
    """For ships of each length the cells of each way, float32[ways, cells]."""
    apart: dict[tuple[int, int], np.ndarray]
    """For ships of two lengths whether they neither overlap nor touch, float32[ways of one, ways of the other]."""
    weights: list[np.ndarray]
    """For each ship how likely its ways are, but for the places that others take: float32[ways]."""


@functools.cache
def _ways(side: int) -> _Ways:
    cells = {}
    around = {}
    for length in set(SHIPS):
        lying = np.zeros((side, side - length + 1, side, side), bool)
        for row in range(side):
            for col in range(side - length + 1):
                lying[row, col, row, col : col + length] = True
        ways = np.concatenate([lying, lying.swapaxes(2, 3)]).reshape(-1, side, side)
        padded = np.pad(ways, ((0, 0), (1, 1), (1, 1)))
        shifted = [padded[:, row : row + side, col : col + side] for row in range(3) for col in range(3)]
        cells[length] = ways.reshape(len(ways), -1).astype(np.float32)
        around[length] = np.any(shifted, 0).reshape(len(ways), -1).astype(np.float32)
    apart = {(one, other): (around[one] @ cells[other].T == 0).astype(np.float32) for one in cells for other in cells}
    # A ship is laid uniformly over the ways that those before it leave: the fewer they leave, the likelier is each.
    weights = [np.ones(len(cells[length]), np.float32) for length in SHIPS]
    for first, length in enumerate(SHIPS):
        for later in SHIPS[first + 1 :]:
            weights[first] /= np.mean(apart[length, later], 1)
    return _Ways(cells, apart, weights)


@functools.lru_cache(4_096)  # most steps are walks, which tell nothing new
def _ship_chances(marks: bytes, side: int) -> np.ndarray:
    ways = _ways(side)
    seen = np.frombuffer(marks, np.int8)
    misses = (seen == MISS).astype(np.float32)
    open_sea = {ship: ways.weights[ship] * (ways.cells[length] @ misses == 0) for ship, length in enumerate(SHIPS)}
    total, chances = 0.0, np.zeros(side**2)

    def explain(hits: list[int], ships: dict[int, np.ndarray], laid: np.ndarray, weight: float) -> None:
        """Add up all fleets that explain these hits, `ships` being those not laid yet, with the weights of their ways."""
        nonlocal total, chances
        if not hits:
            weight_of_all, where = _at_large(ways, ships)
            total += weight * weight_of_all
            chances += weight * weight_of_all * (laid + where)
            return
        for ship, weights in ships.items():
            length = SHIPS[ship]
            for way in np.flatnonzero(weights * ways.cells[length][:, hits[0]]):
                cells = ways.cells[length][way]
                left = {other: ships[other] * ways.apart[length, SHIPS[other]][way] for other in ships if other != ship}
                missing = [hit for hit in hits if not cells[hit]]
                if len(missing) <= sum(SHIPS[other] for other in left):
                    explain(missing, left, laid + cells, weight * weights[way])

    explain(np.flatnonzero(seen == HIT).tolist(), open_sea, np.zeros(side**2), 1.0)
    return (chances / max(total, 1e-30)).reshape(side, side).astype(np.float32)


def _at_large(ways: _Ways, ships: dict[int, np.ndarray]) -> tuple[float, np.ndarray]:
    """Return the weight of all fleets of ships that cover no hit, and the chance that one of them lies on each cell."""
    total, where = 1.0, np.zeros(ways.cells[SHIPS[0]].shape[1])
    sums = {ship: weights.sum() for ship, weights in ships.items()}
    if not all(sums.values()):
        return 0.0, where
    for ship, weights in ships.items():
        total *= sums[ship]
        joint = weights
        for other in ships.keys() - {ship}:
            left = ways.apart[SHIPS[ship], SHIPS[other]] @ ships[other] / sums[other]
            joint = joint * left
            if other > ship:
                total *= weights @ left / sums[ship]
        if not joint.any():
            return 0.0, where
        where += joint / joint.sum() @ ways.cells[SHIPS[ship]]
    return float(total), where
