import collections
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade import experts
from popgym_arcade.environments import navigator
from popgym_arcade.environments.navigator import Navigator
from popgym_arcade.testing import Decoder, Resampler
from tests.environments import contract, recorded


def reader(env: Navigator) -> contract.Reader:
    screen, grid = env.layout

    def read(frame: np.ndarray) -> dict[str, Any]:
        glyphs = grid.read(frame)
        cells = glyphs % navigator._AGENT
        return {
            "score": screen.score_readout.read(frame),
            "agent": np.argwhere(glyphs >= navigator._AGENT)[0],
            "treasure": cells == navigator._TREASURE,
            "tnt": cells == navigator._TNT,
        }

    return read


def decoder(env: Navigator) -> Decoder:
    def decode(frame: np.ndarray) -> dict[str, Any]:
        told = reader(env)(frame)
        return {**told, "treasure": np.argwhere(told["treasure"])[0]}

    return decode


def resampler(env: Navigator) -> Resampler:
    def resample(key: jax.Array, state: Any) -> Any:
        other = env.initial_state(key, env.default_params)
        first = state.time == 0
        return state.replace(
            treasure=jnp.where(first, state.treasure, other.treasure), tnt=jnp.where(first, state.tnt, other.tnt)
        )

    return resample


@pytest.mark.parametrize("difficulty", Navigator.difficulties)
def test_contract(difficulty: str) -> None:
    contract.check(Navigator(difficulty=difficulty), decoder, resampler)


@pytest.mark.parametrize("difficulty", Navigator.difficulties)
def test_recorded_run(difficulty: str) -> None:
    recorded.check(Navigator(difficulty=difficulty))


@pytest.mark.parametrize("difficulty", Navigator.difficulties)
def test_glimpses(difficulty: str) -> None:
    contract.check_glimpses(Navigator(difficulty=difficulty), reader)


@pytest.mark.parametrize("difficulty", Navigator.difficulties)
def test_rules(difficulty: str) -> None:
    env = Navigator(difficulty=difficulty)
    side = env.side
    outcomes = collections.Counter()
    total = 0.0
    for step in contract.rollout(env, steps=150):
        total = 0.0 if step.before.time == 0 else total
        agent = contract.moved(step.before.agent, step.action, side)
        if step.before.tnt[agent]:
            outcome, reward = "tnt", -0.5
        elif step.action == 4 and agent == tuple(step.before.treasure):
            outcome, reward = "treasure", 1.0
        else:
            outcome, reward = "way", -0.5 / side**2
        total += reward
        outcomes[outcome] += 1
        assert tuple(step.after.agent) == agent
        assert np.array_equal(step.after.tnt, step.before.tnt)
        assert np.array_equal(step.after.treasure, step.before.treasure)
        assert step.reward == pytest.approx(reward)
        assert step.terminated == (outcome != "way")
        assert step.truncated == (outcome == "way" and step.before.time + 1 == side**2)
        assert step.after.score == contract.percent(total)
    assert outcomes["tnt"] and outcomes["way"]


def test_treasure_ends_the_game_with_one() -> None:
    env = Navigator()
    _, state = env.reset(jax.random.key(0))
    _, _, reward, _, info = env.step(jax.random.key(1), state.replace(agent=state.treasure), 4)
    assert reward == 1 and info["terminated"]


@pytest.mark.parametrize("difficulty", Navigator.difficulties)
def test_starts(difficulty: str) -> None:
    env = Navigator(difficulty=difficulty)
    side, cells = env.side, env.side**2
    states = contract.starts(env, 40_000)
    agent = states.agent[:, 0] * side + states.agent[:, 1]
    treasure = states.treasure[:, 0] * side + states.treasure[:, 1]
    assert not np.any(agent == treasure)
    contract.assert_distributed(np.bincount(agent, minlength=cells))
    contract.assert_distributed(np.bincount((treasure - agent) % cells, minlength=cells)[1:])

    # TNT: seven blocks that touch neither one another nor agent and treasure, which may stand beside them.
    tnt = states.tnt
    assert np.all(tnt.sum((1, 2)) == navigator.BLOCKS)
    padded = np.pad(tnt, ((0, 0), (1, 1), (1, 1))).astype(int)
    shifted = [padded[:, i : i + side, j : j + side] for i in range(3) for j in range(3)]
    around = np.sum(shifted, 0)
    assert np.all(around[tnt] == 1)
    numbers = np.arange(len(tnt))
    assert not np.any(tnt[numbers, *states.agent.T] | tnt[numbers, *states.treasure.T])


def test_tnt_is_laid_one_by_one() -> None:
    """Where TNT lies, against a second implementation that lays it with NumPy's generator."""
    env = Navigator()
    states = contract.starts(env, 40_000)
    rng = np.random.default_rng(0)
    reference = np.zeros((8, 8))
    runs = 10_000
    for _ in range(runs):
        free = {(row, col) for row in range(8) for col in range(8)}
        agent, treasure = (divmod(int(cell), 8) for cell in rng.choice(64, 2, replace=False))
        free -= {agent, treasure}
        for _ in range(navigator.BLOCKS):
            row, col = sorted(free)[rng.integers(len(free))]
            reference[row, col] += 1
            free -= {(row + i, col + j) for i in (-1, 0, 1) for j in (-1, 0, 1)}
    share, expected = states.tnt.mean(0), reference / runs
    error = np.sqrt(expected * (1 - expected) * (1 / runs + 1 / len(states.tnt)))
    assert np.max(np.abs(share - expected) / error) < 4.5


def test_best_return_is_the_shortest_way() -> None:
    """Against a breadth-first search in Python."""
    env = Navigator(difficulty="Hard")
    states = contract.starts(env, 40_000)
    first = jax.tree.map(lambda leaf: leaf[:50], states)
    best = jax.vmap(env.best_return, in_axes=(0, None))(first, env.default_params)
    for index in range(50):
        length = 0
        queue, seen = collections.deque([(tuple(states.agent[index]), 0)]), {tuple(states.agent[index])}
        while queue:
            position, length = queue.popleft()
            if position == tuple(states.treasure[index]):
                break
            for action in range(4):
                following = contract.moved(np.array(position), action, env.side)
                if following not in seen and not states.tnt[index][following]:
                    seen.add(following)
                    queue.append((following, length + 1))
        assert best[index] == pytest.approx(1 - length * 0.5 / env.side**2)


@pytest.mark.parametrize("clock", [20, 64, 640])
def test_the_price_of_a_step_follows_the_clock(clock: int) -> None:
    """Waiting until the clock ends the episode costs 0.5, whatever the clock; `best_return` knows the price."""
    env = Navigator()
    params = env.default_params.replace(max_steps_in_episode=np.int32(clock))
    waiting = experts.play(env, lambda key, state, params: jnp.int32(5), jax.random.key(0), params)
    assert waiting.length == clock and waiting.total == pytest.approx(-0.5, abs=1e-5)
    _, state = env.reset(jax.random.split(jax.random.key(0))[0], params)
    best = experts.play(env, experts.expert(env), jax.random.key(0), params)
    assert best.total == pytest.approx(float(env.best_return(state, params)), abs=1e-5)
    assert best.total == pytest.approx(1 - 0.5 * (int(best.length) - 1) / clock, abs=1e-5)


def test_expert_needs_no_luck() -> None:
    env = Navigator()
    episodes = jax.vmap(lambda key: experts.play(env, experts.expert(env), key))(jax.random.split(jax.random.key(2), 64))
    assert np.all(episodes.terminated)
