import collections
import itertools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade.environments import minesweeper
from popgym_arcade.environments.minesweeper import MINE, MineSweeper
from popgym_arcade.testing import Decoder, Resampler
from tests.environments import contract, recorded


def reader(env: MineSweeper) -> contract.Reader:
    screen, grid, repeats = env.layout

    def read(frame: np.ndarray) -> dict[str, Any]:
        glyphs = grid.read(frame)
        return {
            "score": screen.score_readout.read(frame),
            "repeats": repeats.read(frame),
            "cursor": np.argwhere(glyphs >= minesweeper._CURSOR)[0],
            "field": glyphs % minesweeper._CURSOR - minesweeper._GLYPH,
        }

    return read


def decoder(env: MineSweeper) -> Decoder:
    def decode(frame: np.ndarray) -> dict[str, Any]:
        told = reader(env)(frame)
        uncovered = told["field"] != minesweeper.COVERED
        return {**told, "uncovered": uncovered, "field": np.ma.masked_array(told["field"], ~uncovered)}

    return decode


def resampler(env: MineSweeper) -> Resampler:
    def resample(key: jax.Array, state: Any) -> Any:
        lines = np.arange(env.side)
        here = (lines[:, None] == state.cursor[0]) & (lines == state.cursor[1])
        key_field, key_uncovered = jax.random.split(key)
        other = env.initial_state(key_field, env.default_params)
        uncovered = jax.random.bernoulli(key_uncovered, 0.4, here.shape)
        open_here = jnp.any(state.uncovered & here)
        return state.replace(
            uncovered=jnp.where(here, state.uncovered, uncovered),
            field=jnp.where(here & open_here, state.field, other.field),
            spare=other.spare,
        )

    return resample


@pytest.mark.parametrize("difficulty", MineSweeper.difficulties)
def test_contract(difficulty: str) -> None:
    contract.check(MineSweeper(difficulty=difficulty), decoder, resampler)


@pytest.mark.parametrize("difficulty", MineSweeper.difficulties)
def test_recorded_run(difficulty: str) -> None:
    recorded.check(MineSweeper(difficulty=difficulty))


@pytest.mark.parametrize("difficulty", MineSweeper.difficulties)
def test_glimpses(difficulty: str) -> None:
    contract.check_glimpses(MineSweeper(difficulty=difficulty), reader)


def numbered(mines: np.ndarray) -> np.ndarray:
    """What each cell holds: a mine, or how many of its neighbours are mines."""
    field = np.full(mines.shape, MINE)
    for row, col in np.argwhere(~mines):
        field[row, col] = mines[max(row - 1, 0) : row + 2, max(col - 1, 0) : col + 2].sum()
    return field


@pytest.mark.parametrize("difficulty", MineSweeper.difficulties)
def test_rules(difficulty: str) -> None:
    env = MineSweeper(difficulty=difficulty)
    side, cells = env.side, env.side**2
    outcomes = collections.Counter()
    total = 0.0
    for step in contract.rollout(env, steps=225, fire=0.15):
        total = 0.0 if step.before.time == 0 else total
        cursor = contract.moved(step.before.cursor, step.action, side)
        uncovered, repeats, reward = step.before.uncovered.copy(), int(step.before.repeats), 0.0
        mines = step.before.field == MINE
        if step.action != 4:
            outcome = "move"
        elif uncovered[cursor]:
            outcome, reward, repeats = "repeat", -2 / cells, repeats + 1
        elif mines[cursor] and uncovered.any():
            outcome, reward = "mine", -uncovered.sum() / (cells - env.mines)
        else:
            outcome, reward = "spared" if mines[cursor] else "safe", 1 / (cells - env.mines)
            if outcome == "spared":
                mines[cursor], mines[tuple(step.before.spare)] = False, True
        uncovered[cursor] |= step.action == 4
        total += reward
        outcomes[outcome] += 1
        cleared = (uncovered & ~mines).sum() == cells - env.mines
        ended = outcome == "mine" or cleared or repeats == cells // 2
        assert tuple(step.after.cursor) == cursor
        assert step.after.repeats == repeats
        assert np.array_equal(step.after.uncovered, uncovered)
        assert np.array_equal(step.after.field, numbered(mines))
        assert step.reward == pytest.approx(reward)
        assert step.terminated == ended
        assert step.truncated == (not ended and step.before.time + 1 == 2 * cells + 2 * side)
        assert step.after.score == contract.percent(total)
    assert all(outcomes[name] for name in ("move", "repeat", "safe", "spared", "mine"))


def test_clearing_the_field_wins_and_the_last_repeat_loses() -> None:
    env = MineSweeper()
    _, state = env.reset(jax.random.key(0))
    safe = np.asarray(state.field) != MINE
    cursor = jnp.asarray(np.argwhere(safe)[0], jnp.int32)
    almost = state.replace(cursor=cursor, uncovered=jnp.asarray(safe).at[*cursor].set(False))
    _, _, reward, _, info = env.step_env(jax.random.key(1), almost, 4)
    assert info["terminated"]
    assert reward == pytest.approx(1 / 13)
    assert info["final_state"].score == 100

    wasteful = state.replace(cursor=cursor, uncovered=state.uncovered.at[*cursor].set(True), repeats=jnp.int32(7))
    _, _, reward, _, info = env.step_env(jax.random.key(1), wasteful, 4)
    assert info["terminated"]
    assert reward == pytest.approx(-2 / 16)


@pytest.mark.parametrize("difficulty", MineSweeper.difficulties)
def test_starts(difficulty: str) -> None:
    env = MineSweeper(difficulty=difficulty)
    side = env.side
    states = contract.starts(env, 40_000)
    contract.assert_distributed(np.bincount(states.cursor[:, 0] * side + states.cursor[:, 1], minlength=side**2))
    assert not states.uncovered.any()

    mines = states.field == MINE
    assert np.all(mines.sum((1, 2)) == env.mines)
    share = env.mines / side**2
    error = np.sqrt(share * (1 - share) / len(mines))
    assert np.max(np.abs(mines.mean(0) - share)) / error < 4.5
    for field, mine in zip(states.field[:200], mines[:200], strict=True):
        assert np.array_equal(field, numbered(mine))

    # The spare cell: free of mines, and as likely to lie on one of those as on another.
    spare = states.spare[:, 0] * side + states.spare[:, 1]
    free = ~mines.reshape(len(mines), -1)
    assert np.all(free[np.arange(len(free)), spare])
    rank = np.cumsum(free, 1)[np.arange(len(free)), spare] - 1
    contract.assert_distributed(np.bincount(rank, minlength=side**2 - env.mines))


def test_mines() -> None:
    """All 560 triples of cells are equally likely."""
    mines = (contract.starts(MineSweeper(), 40_000).field == MINE).reshape(-1, 16)
    triples = np.flatnonzero(mines).reshape(-1, 3) % 16
    counts = collections.Counter(map(tuple, triples.tolist()))
    assert set(counts) == set(itertools.combinations(range(16), 3))
    contract.assert_distributed(np.array(list(counts.values())))
