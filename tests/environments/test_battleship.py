import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade.environments import battleship
from popgym_arcade.environments.battleship import BattleShip
from popgym_arcade.testing import Decoder, Resampler, read_grid, read_text
from tests.environments import contract


def decoder(env: BattleShip) -> Decoder:
    screen, grid, repeats = env._screen

    def decode(frame: np.ndarray) -> dict[str, Any]:
        glyphs = read_grid(grid, frame)
        marks = glyphs % battleship._CURSOR
        shots = marks != battleship._SEA
        return {
            "score": read_text(screen.score_readout, frame) - 999,
            "repeats": read_text(repeats, frame),
            "cursor": np.argwhere(glyphs >= battleship._CURSOR)[0],
            "shots": shots,
            "ships": np.ma.masked_array(marks == battleship._HIT, ~shots),
        }

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
def test_rules(difficulty: str) -> None:
    env = BattleShip(difficulty=difficulty)
    side, cells = env.side, env.side**2
    outcomes = collections.Counter()
    total = 0.0
    for step in contract.rollout(env, steps=250, fire=0.6):
        total = 0.0 if step.before.time == 0 else total
        cursor = contract.moved(step.before.cursor, step.action, side)
        shots, repeats, reward = step.before.shots.copy(), int(step.before.repeats), 0.0
        if step.action != 4:
            outcome = "move"
        elif shots[cursor]:
            outcome, reward, repeats = "repeat", -2 / cells, repeats + 1
        else:
            outcome = "hit" if step.before.ships[cursor] else "miss"
            reward = 1 / 12 if outcome == "hit" else 0.0
            shots[cursor] = True
        total += reward
        outcomes[outcome] += 1
        ended = (shots & step.before.ships).sum() == 12 or repeats == cells // 2
        assert tuple(step.after.cursor) == cursor
        assert step.after.repeats == repeats
        assert np.array_equal(step.after.shots, shots)
        assert np.array_equal(step.after.ships, step.before.ships)
        assert step.reward == pytest.approx(reward)
        assert step.terminated == ended
        assert step.truncated == (not ended and step.before.time + 1 == 2 * cells + 2 * side)
        assert step.after.score == contract.percent(total)
        outcomes["end"] += ended
    assert all(outcomes[name] for name in ("move", "repeat", "hit", "miss", "end"))


def test_the_last_hit_wins_and_the_last_repeat_loses() -> None:
    env = BattleShip()
    _, state = env.reset(jax.random.key(0))
    cursor = jnp.asarray(np.argwhere(np.asarray(state.ships))[0], jnp.int32)
    almost = state.replace(cursor=cursor, shots=state.ships.at[*cursor].set(False))
    _, _, reward, _, info = env.step_env(jax.random.key(1), almost, 4)
    assert info["terminated"] and reward > 0 and info["final_state"].score == 100

    wasteful = state.replace(cursor=cursor, shots=jnp.ones_like(state.shots).at[0].set(False), repeats=jnp.int32(31))
    wasteful = wasteful.replace(shots=wasteful.shots.at[*cursor].set(True), ships=state.ships.at[0].set(True))
    _, _, reward, _, info = env.step_env(jax.random.key(1), wasteful, 4)
    assert info["terminated"] and reward == pytest.approx(-2 / 64)


@pytest.mark.parametrize("difficulty", BattleShip.difficulties)
def test_starts(difficulty: str) -> None:
    env = BattleShip(difficulty=difficulty)
    states = contract.starts(env, 40_000)
    cursor = states.cursor[:, 0] * env.side + states.cursor[:, 1]
    contract.assert_distributed(np.bincount(cursor, minlength=env.side**2))
    assert np.all(states.ships.sum((1, 2)) == 12)
    assert not states.shots.any()


def test_first_ship() -> None:
    """All 80 placements of the longest ship on the empty board are equally likely."""
    env = BattleShip()
    words = jax.random.bits(jax.random.key(4), (40_000,))
    ships = np.asarray(jax.jit(jax.vmap(lambda word: env._place(word, jnp.ones((8, 8), bool), 4)))(words))
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
            free = [place for place in places if not sea[place].any()]
            sea[free[rng.integers(len(free))]] = True
        reference += sea
    share, expected = states.ships.mean(0), reference / runs
    error = np.sqrt(expected * (1 - expected) * (1 / runs + 1 / len(states.ships)))
    assert np.max(np.abs(share - expected) / error) < 4.5
