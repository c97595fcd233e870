import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade import experts
from popgym_arcade.environments import skittles
from popgym_arcade.environments.skittles import NONE, SIDE, Skittles
from popgym_arcade.testing import Decoder, Resampler
from tests.environments import contract, recorded

LANES = {"Easy": range(1, 9), "Medium": range(2, 9), "Hard": range(2, 8)}


def reader(env: Skittles) -> contract.Reader:
    screen, lane = env.layout

    def read(frame: np.ndarray) -> dict[str, Any]:
        glyphs = lane.read(frame)
        enemies = glyphs >= skittles._ENEMY
        assert np.all(enemies.sum(1) <= 1)
        player = np.argwhere(glyphs % skittles._ENEMY == skittles._PLAYER)
        assert len(player) == 1 and player[0, 0] == SIDE - 1
        return {
            "score": screen.score_readout.read(frame),
            "player": player[0, 1] + env.first,
            "enemies": np.where(enemies.any(1), enemies.argmax(1) + env.first, NONE),
        }

    return read


def decoder(env: Skittles) -> Decoder:
    return reader(env)


def resampler(env: Skittles) -> Resampler:
    def resample(key: jax.Array, state: Any) -> Any:
        enemies = jax.random.randint(key, (SIDE,), env.first - 1, env.first + env.width)
        enemies = jnp.where(enemies < env.first, NONE, enemies)
        return state.replace(enemies=jnp.where(state.seen, state.enemies, enemies))

    return resample


@pytest.mark.parametrize("difficulty", Skittles.difficulties)
def test_contract(difficulty: str) -> None:
    contract.check(Skittles(difficulty=difficulty), decoder, resampler)


@pytest.mark.parametrize("difficulty", Skittles.difficulties)
def test_recorded_run(difficulty: str) -> None:
    recorded.check(Skittles(difficulty=difficulty))


@pytest.mark.parametrize("difficulty", Skittles.difficulties)
def test_glimpses(difficulty: str) -> None:
    contract.check_glimpses(Skittles(difficulty=difficulty), reader)


@pytest.mark.parametrize("difficulty", Skittles.difficulties)
def test_rules(difficulty: str) -> None:
    env = Skittles(difficulty=difficulty)
    lane = LANES[difficulty]
    outcomes = collections.Counter()
    for step in contract.rollout(env, steps=375):
        player = step.before.player + {2: -1, 3: 1}.get(step.action, 0)
        player = min(max(player, lane[0]), lane[-1])
        enemies = {(row + 1, col) for row, col in enumerate(step.before.enemies) if col != NONE and row < 9}
        hit = (9, player) in enemies
        outcomes["hit" if hit else "survived"] += 1
        outcomes["edge"] += player == step.before.player and step.action in (2, 3)
        assert step.after.player == player
        assert {(row, col) for row, col in enumerate(step.after.enemies) if row > 0 and col != NONE} == enemies
        assert step.after.enemies[0] in lane
        assert step.reward == pytest.approx(0 if hit else 0.01)
        assert step.terminated == hit
        assert step.truncated == (not hit and step.before.time == 99)
        assert step.after.score == step.before.time + (not hit)
    assert outcomes["hit"] and outcomes["survived"] and outcomes["edge"]


@pytest.mark.parametrize("difficulty", Skittles.difficulties)
def test_starts(difficulty: str) -> None:
    env = Skittles(difficulty=difficulty)
    states = contract.starts(env, 40_000)
    lane = LANES[difficulty]
    assert states.player.min() >= lane[0]
    contract.assert_distributed(np.bincount(states.player, minlength=lane.stop)[lane.start :])
    assert np.all(states.enemies == NONE)


@pytest.mark.parametrize("difficulty", Skittles.difficulties)
def test_newcomers_and_masks(difficulty: str) -> None:
    """Columns of the lane are equally likely; each enemy is seen with probability one half, whatever was seen before."""
    env = Skittles(difficulty=difficulty)
    state = env.reset(jax.random.key(0))[1]
    step = jax.jit(jax.vmap(lambda key: env.step_env(key, state, 4)[1]))
    states = jax.tree.map(np.asarray, step(jax.random.split(jax.random.key(1), 40_000)))
    lane = LANES[difficulty]
    contract.assert_distributed(np.bincount(states.enemies[:, 0], minlength=lane.stop)[lane.start :])
    contract.assert_distributed(np.bincount(states.seen @ (1 << np.arange(SIDE)), minlength=1 << SIDE))
    together = np.bincount(2 * states.enemies[:, 0] + states.seen[:, 0], minlength=2 * lane.stop)
    contract.assert_distributed(together[2 * lane.start :])


def test_pomdp_shows_what_is_seen() -> None:
    env = Skittles(partial_obs=True)
    lane = env.layout[1]
    state = env.reset(jax.random.key(0))[1]
    state = state.replace(enemies=jnp.arange(SIDE, dtype=jnp.int32) % env.width + env.first, player=jnp.int32(5))
    for seed in range(20):
        seen = np.random.default_rng(seed).random(SIDE) < 0.5
        glyphs = lane.read(np.asarray(env.get_obs(state.replace(seen=jnp.asarray(seen)))))
        assert np.array_equal((glyphs >= skittles._ENEMY).any(1), seen)
        assert glyphs[9, 5 - env.first] == skittles._PLAYER


def test_a_crash_shows_both() -> None:
    env = Skittles()
    state = env.reset(jax.random.key(0))[1]
    enemies = state.enemies.at[8].set(state.player)
    _, _, reward, _, info = env.step_env(jax.random.key(1), state.replace(enemies=enemies), 4)
    assert info["terminated"] and reward == 0
    read = decoder(env)(np.asarray(env.get_obs(info["final_state"])))
    assert read["player"] == read["enemies"][9] == state.player


@pytest.mark.parametrize("difficulty", Skittles.difficulties)
def test_expert_always_wins(difficulty: str) -> None:
    env = Skittles(difficulty=difficulty)
    play = jax.jit(jax.vmap(lambda key: experts.play(env, experts.expert(env), key)))
    episodes = play(jax.random.split(jax.random.key(2), 1_000))
    assert np.all(episodes.truncated)
    assert np.allclose(episodes.total, 1, atol=1e-5)
