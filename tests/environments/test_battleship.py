import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import scipy.ndimage

from popgym_arcade import sampling
from popgym_arcade.environments import battleship
from popgym_arcade.environments.battleship import BattleShip
from popgym_arcade.testing import Decoder, Resampler
from tests.environments import contract, recorded


def reader(env: BattleShip) -> contract.Reader:
    screen, grid, wasted = env.layout

    def read(frame: np.ndarray) -> dict[str, Any]:
        glyphs = grid.read(frame)
        return {
            "score": screen.score_readout.read(frame),
            "wasted": wasted.read(frame),
            "cursor": np.argwhere(glyphs >= battleship._CURSOR)[0],
            "marks": glyphs % battleship._CURSOR,
        }

    return read


def decoder(env: BattleShip) -> Decoder:
    def decode(frame: np.ndarray) -> dict[str, Any]:
        told = dict(reader(env)(frame))
        marks = told.pop("marks")
        shots = marks != battleship.SEA
        return {**told, "shots": shots, "ships": np.ma.masked_array(marks == battleship.HIT, ~shots)}

    return decode


def resampler(env: BattleShip) -> Resampler:
    def resample(key: jax.Array, state: Any) -> Any:
        lines = np.arange(env.side)
        here = (lines[:, None] == state.cursor[0]) & (lines == state.cursor[1])
        key_ships, key_shots = jax.random.split(key)
        ships = env.initial_state(key_ships, env.default_params).ships
        shots = jax.random.bernoulli(key_shots, 0.3, here.shape)
        shot_here = jnp.any(state.shots & here)
        return state.replace(
            shots=jnp.where(here, state.shots, shots), ships=jnp.where(here & shot_here, state.ships, ships)
        )

    return resample


@pytest.mark.parametrize("difficulty", BattleShip.difficulties)
def test_contract(difficulty: str) -> None:
    contract.check(BattleShip(difficulty=difficulty), decoder, resampler)


@pytest.mark.parametrize("difficulty", BattleShip.difficulties)
def test_recorded_run(difficulty: str) -> None:
    recorded.check(BattleShip(difficulty=difficulty))


@pytest.mark.parametrize("difficulty", BattleShip.difficulties)
def test_glimpses(difficulty: str) -> None:
    contract.check_glimpses(BattleShip(difficulty=difficulty), reader)


@pytest.mark.parametrize("difficulty", BattleShip.difficulties)
def test_rules(difficulty: str) -> None:
    env = BattleShip(difficulty=difficulty)
    side, cells = env.side, env.side**2
    outcomes = collections.Counter()
    total = 0.0
    for step in contract.rollout(env, steps=220, fire=0.6):
        total = 0.0 if step.before.time == 0 else total
        cursor = contract.moved(step.before.cursor, step.action, side)
        shots, wasted, reward = step.before.shots.copy(), int(step.before.wasted), 0.0
        if step.action != 4:
            outcome = "move"
        elif shots[cursor]:
            outcome, reward, wasted = "repeat", -2 / cells, wasted + 1
        elif step.before.ships[cursor]:
            outcome, reward = "hit", 1 / 12
        else:
            outcome, reward, wasted = "miss", -1 / cells, wasted + 1
        shots[cursor] |= step.action == 4
        total += reward
        outcomes[outcome] += 1
        ended = (shots & step.before.ships).sum() == 12 or wasted == cells // 2
        assert tuple(step.after.cursor) == cursor
        assert step.after.wasted == wasted
        assert np.array_equal(step.after.shots, shots)
        assert np.array_equal(step.after.ships, step.before.ships)
        assert step.reward == pytest.approx(reward)
        assert step.terminated == ended
        assert step.truncated == (not ended and step.before.time + 1 == 3 * cells)
        assert step.after.score == contract.percent(total)
        outcomes["end"] += ended
    assert all(outcomes[name] for name in ("move", "repeat", "hit", "miss", "end"))


def test_the_last_hit_wins_and_the_last_wasted_shot_loses() -> None:
    env = BattleShip()
    _, state = env.reset(jax.random.key(0))
    cursor = jnp.asarray(np.argwhere(np.asarray(state.ships))[0], jnp.int32)
    almost = state.replace(cursor=cursor, shots=state.ships.at[*cursor].set(False))
    _, _, reward, _, info = env.step_env(jax.random.key(1), almost, 4)
    assert info["terminated"] and reward > 0 and info["final_state"].score == 100

    wasteful = state.replace(cursor=cursor, shots=jnp.ones_like(state.shots).at[0].set(False), wasted=jnp.int32(31))
    wasteful = wasteful.replace(shots=wasteful.shots.at[*cursor].set(True), ships=state.ships.at[0].set(True))
    _, _, reward, _, info = env.step_env(jax.random.key(1), wasteful, 4)
    assert info["terminated"] and reward == pytest.approx(-2 / 64)

    hasty = state.replace(cursor=cursor, ships=state.ships.at[*cursor].set(False), wasted=jnp.int32(31))
    _, _, reward, _, info = env.step_env(jax.random.key(1), hasty, 4)
    assert info["terminated"] and reward == pytest.approx(-1 / 64)


@pytest.mark.parametrize("difficulty", BattleShip.difficulties)
def test_starts(difficulty: str) -> None:
    env = BattleShip(difficulty=difficulty)
    states = contract.starts(env, 40_000)
    cursor = states.cursor[:, 0] * env.side + states.cursor[:, 1]
    contract.assert_distributed(np.bincount(cursor, minlength=env.side**2))
    assert np.all(states.ships.sum((1, 2)) == 12)
    assert not states.shots.any()

    # Ships that do not touch: nothing lies diagonally to a ship cell, and the straight lines have the ships' lengths.
    fleets = states.ships
    assert not np.any(fleets[:, 1:, 1:] & fleets[:, :-1, :-1]) and not np.any(fleets[:, 1:, :-1] & fleets[:, :-1, 1:])
    for fleet in fleets[:300]:
        labels = scipy.ndimage.label(fleet)[0]  # pyright: ignore[reportIndexIssue]
        assert sorted(np.bincount(labels.ravel())[1:]) == [2, 3, 3, 4]


def test_first_ship() -> None:
    """All 80 placements of the longest ship on the empty board are equally likely."""
    env = BattleShip()
    words = jax.random.bits(jax.random.key(4), (40_000,))
    sea = jnp.full(8, 255, jnp.uint32)
    lay = jax.jit(jax.vmap(lambda word: sampling.unpack(env._lay((sea, 0 * sea), (word, jnp.int32(4)))[1], 8)))
    ships = np.asarray(lay(words))
    placements = collections.Counter(ship.tobytes() for ship in ships)
    expected = set()
    for line in range(8):
        for start in range(5):
            ship = np.zeros((8, 8), bool)
            ship[line, start : start + 4] = True
            expected |= {ship.tobytes(), ship.T.tobytes()}
    assert set(placements) == expected
    contract.assert_distributed(np.array(list(placements.values())))


def test_fleet() -> None:
    """Where ships lie, against a second implementation that lays them with NumPy's generator."""
    states = contract.starts(BattleShip(), 40_000)
    rng = np.random.default_rng(0)
    runs = 4_000
    reference = np.zeros((8, 8))
    for _ in range(runs):
        sea = np.zeros((8, 8), bool)
        for length in (4, 3, 3, 2):
            places = [
                np.s_[row : row + height, col : col + width]
                for height, width in ((1, length), (length, 1))
                for row in range(9 - height)
                for col in range(9 - width)
            ]
            free = [
                (row, col)
                for row, col in places
                if not sea[max(row.start - 1, 0) : row.stop + 1, max(col.start - 1, 0) : col.stop + 1].any()
            ]
            sea[free[rng.integers(len(free))]] = True
        reference += sea
    share, expected = states.ships.mean(0), reference / runs
    error = np.sqrt(expected * (1 - expected) * (1 / runs + 1 / len(states.ships)))
    assert np.max(np.abs(share - expected) / error) < 4.5
