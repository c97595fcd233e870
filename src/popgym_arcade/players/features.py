"""The features of memoryless players: a glimpse as numbers that a small network can tell apart.

Mostly ones and zeros, so that a table over what the frame shows is among the policies that can be found; the score, which
may be a clock, is always included.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade.environment import Environment
from popgym_arcade.environments import breakout, skittles, tetris
from popgym_arcade.environments.autoencode import SUITS, AutoEncode, AutoEncodeGlimpse
from popgym_arcade.environments.battleship import BattleShip, BattleShipGlimpse
from popgym_arcade.environments.breakout import Breakout, BreakoutGlimpse
from popgym_arcade.environments.cartpole import CartPole, CartPoleGlimpse
from popgym_arcade.environments.count_recall import CountRecall, CountRecallGlimpse
from popgym_arcade.environments.minesweeper import MINE, MineSweeper, MineSweeperGlimpse
from popgym_arcade.environments.navigator import Navigator, NavigatorGlimpse
from popgym_arcade.environments.noisy_cartpole import NoisyCartPole
from popgym_arcade.environments.skittles import Skittles, SkittlesGlimpse
from popgym_arcade.environments.tetris import Tetris, TetrisGlimpse


def _one_hot(number: jax.Array, first: int, last: int) -> jax.Array:
    """Mark an integer, int[...], among those from `first` to `last`: float32[... * count]."""
    return (jnp.clip(number, first, last)[..., None] == np.arange(first, last + 1)).astype(jnp.float32).reshape(-1)


def _score(score: jax.Array) -> jax.Array:
    return jnp.concatenate([_one_hot(score, -100, 100), score[None] / 100])


_AFTER_THE_SCORE = 202


def _cart_pole(env: CartPole | NoisyCartPole, seen: CartPoleGlimpse) -> list[jax.Array]:
    spin = seen.physics[3]
    fine = _one_hot(jnp.round(spin / 0.16).astype(jnp.int32), -18, 18)
    return [fine, spin[None], jnp.where(seen.whole, seen.physics, 0)]


def _count_recall(env: CountRecall, seen: CountRecallGlimpse) -> list[jax.Array]:
    cards = _one_hot(jnp.stack([seen.dealt, seen.asked]), 0, env.suits - 1)
    right = seen.score * env.cards / 100
    ahead = _one_hot(jnp.round(seen.counter - right / env.suits).astype(jnp.int32), -8, 8)
    return [cards, _one_hot(seen.counter, 0, env.cards), seen.counter[None] / env.cards, ahead]


def _autoencode(env: AutoEncode, seen: AutoEncodeGlimpse) -> list[jax.Array]:
    return [_one_hot(seen.card, -1, SUITS - 1), _one_hot(seen.choice, 0, SUITS - 1)]


def _cursor(side: int, cursor: jax.Array, cells: jax.Array, first: int, last: int, count: jax.Array) -> list[jax.Array]:
    """Where the cursor is, what is under it, from `first` to `last`, and a count, float32[n].

    What is under the cursor comes first, together with the cell, and then with the count: one that rises with each shot says
    in turn up, down, left and right, which is a little memory.
    """
    row, col = cursor
    here = jnp.sum(jnp.where((np.arange(side)[:, None] == row) & (np.arange(side) == col), cells, 0))
    what = _one_hot(here, first, last)
    both = (_one_hot(row * side + col, 0, side**2 - 1)[:, None] * what).reshape(-1)
    counted = (count[:, None] * what).reshape(-1)
    return [both, counted, _one_hot(row, 0, side - 1), _one_hot(col, 0, side - 1), what, count]


def _battleship(env: BattleShip, seen: BattleShipGlimpse) -> list[jax.Array]:
    return _cursor(env.side, seen.cursor, seen.marks, 0, 2, _one_hot(seen.wasted, 0, env.max_wasted))


def _minesweeper(env: MineSweeper, seen: MineSweeperGlimpse) -> list[jax.Array]:
    safe_cells = env.side**2 - env.mines
    uncovered = safe_cells * (seen.score / 100 + 2 * seen.repeats / env.side**2)
    count = _one_hot(jnp.round(uncovered).astype(jnp.int32), 0, safe_cells)
    return [*_cursor(env.side, seen.cursor, seen.field, -1, MINE, count), _one_hot(seen.repeats, 0, env.max_repeats)]


def _navigator(env: Navigator, seen: NavigatorGlimpse) -> list[jax.Array]:
    row, col = seen.agent
    place = [_one_hot(row, 0, env.side - 1), _one_hot(col, 0, env.side - 1), _one_hot(row * env.side + col, 0, env.side**2)]
    treasure = jnp.argmax(seen.treasure)
    ahead = jnp.stack([treasure // env.side - row, treasure % env.side - col])
    first = jnp.any(seen.treasure)
    return [*place, jnp.where(first, _one_hot(jnp.sign(ahead), -1, 1), 0.0)]


def _breakout(env: Breakout, seen: BreakoutGlimpse) -> list[jax.Array]:
    row, col = seen.ball
    return [
        _one_hot(seen.paddle, 0, breakout.COLS),
        _one_hot(row, -1, breakout.ROWS - 1),
        _one_hot(col, -1, breakout.COLS - 1),
        jnp.where(row >= 0, _one_hot(col - seen.paddle, -breakout.COLS, breakout.COLS), 0.0),
        seen.bricks.astype(jnp.float32).reshape(-1),
    ]


def _skittles(env: Skittles, seen: SkittlesGlimpse) -> list[jax.Array]:
    near = seen.enemies[-4:]
    beside = jnp.where(near == skittles.NONE, skittles.SIDE, near - seen.player)
    return [
        _one_hot(seen.player, 0, skittles.SIDE - 1),
        _one_hot(seen.enemies, -1, skittles.SIDE - 1),
        _one_hot(beside, -3, 3),
        _one_hot(beside[-2], -skittles.SIDE, skittles.SIDE),
    ]


def _tetris(env: Tetris, seen: TetrisGlimpse) -> list[jax.Array]:
    row, col = seen.corner
    way = _one_hot(seen.piece * 4 + seen.orientation, 0, 4 * tetris.PIECES - 1)
    col_by_way = way[:, None] * _one_hot(col, -2, tetris.COLS - 1)
    return [way, col_by_way.reshape(-1), _one_hot(row, 0, tetris.ROWS - 1), _one_hot(seen.previews, 0, tetris.PIECES - 1),
            seen.bag.astype(jnp.float32)]  # fmt: skip


_FEATURES: dict[type, Callable[[Any, Any], list[jax.Array]]] = {
    CartPole: _cart_pole,
    NoisyCartPole: _cart_pole,
    CountRecall: _count_recall,
    AutoEncode: _autoencode,
    BattleShip: _battleship,
    MineSweeper: _minesweeper,
    Navigator: _navigator,
    Breakout: _breakout,
    Skittles: _skittles,
    Tetris: _tetris,
}


def features(env: Environment[Any, Any], glimpse: Any) -> jax.Array:
    """Return the features of a glimpse of one of the games of this package, float32[size]."""
    parts = _FEATURES[type(env)](env, glimpse)
    return jnp.concatenate([_score(glimpse.score), *parts]).astype(jnp.float32)


def map_of_cells(env: BattleShip | MineSweeper, by_cell: np.ndarray, by_count: np.ndarray) -> np.ndarray:
    """Return a linear map of features, float32[size, 6], of what is under the cursor, with its cell and with a count.

    Args:
        env: a game with a cursor.
        by_cell: logits for each cell, and what may be under it in the order of the constants: float32[side, side, kinds, 5].
        by_count: logits for each count, and what may be under it: float32[counts, kinds, 5].
    """
    linear = np.zeros((size(env), 6), np.float32)
    rows = np.concatenate([by_cell.reshape(-1, 5), by_count.reshape(-1, 5)])
    linear[_AFTER_THE_SCORE : _AFTER_THE_SCORE + len(rows), :5] = rows
    return linear


def size(env: Environment[Any, Any]) -> int:
    """The number of features of a game."""

    def of_a_start() -> jax.Array:
        return features(env, env.glimpse(env.initial_state(jax.random.key(0), env.default_params)))

    return jax.eval_shape(of_a_start).shape[0]
