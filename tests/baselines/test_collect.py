"""Collection, watched by a network that remembers all it is told."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade.baselines.algorithm import Task
from popgym_arcade.baselines.collect import collect, run_batch, start_episodes
from popgym_arcade.baselines.model.builder import ActorCriticRNN
from popgym_arcade.baselines.returns import lambda_returns
from tests.tiny import Tiny

ENVS, STEPS = 3, 40


class Recorder:
    """Its memory counts the frames of the episode.

    Its output is logits that prefer this count, modulo 5, and what it was shown: count, sum of the frame, last action.
    """

    def initial_state(self) -> Any:
        return jnp.int32(0)

    def __call__(self, count: Any, obs: jax.Array, last_action: jax.Array, start: jax.Array) -> Any:
        assert obs.shape[0] == 1
        count = jnp.where(start[0], 0, count) + 1
        shown = {"count": count[None], "sum": obs.astype(jnp.float32).sum((1, 2, 3)), "last_action": last_action}
        return count, (jax.nn.one_hot(shown["count"] % 5, 5), shown)


def act(key: jax.Array, output: Any) -> Any:
    action = jax.random.choice(key, 5, p=jnp.array([0.24, 0.24, 0.24, 0.24, 0.04]))
    return action.astype(jnp.int32), output[1]


def value(output: Any) -> jax.Array:
    return output[1]["sum"] + output[1]["count"]


@pytest.fixture(scope="module")
def played() -> Any:
    env = Tiny(obs_size=64)
    keys = jax.random.split(jax.random.key(1), ENVS)

    @functools.partial(jax.jit, static_argnums=1)
    def run(keys: jax.Array, bootstrap_truncated: bool) -> Any:
        network, task = Recorder(), Task(env, env.default_params, None, keys[0])
        actors = start_episodes(network, env, env.default_params, jax.random.split(jax.random.key(0), ENVS))
        return collect(network, task, act, value, actors, keys, STEPS, bootstrap_truncated=bootstrap_truncated)

    return env, jax.device_get(run(keys, True)), jax.device_get(run(keys, False))


def test_what_is_kept_belongs_together(played: Any) -> None:
    _, (after, rollout), _ = played
    done = rollout.terminated | rollout.truncated
    assert rollout.terminated.any() and rollout.truncated.any()
    assert rollout.start[0].all()
    np.testing.assert_array_equal(rollout.start[1:], done[:-1])
    np.testing.assert_array_equal(after.start, done[-1])
    np.testing.assert_array_equal(rollout.last_action[1:], rollout.action[:-1])
    np.testing.assert_array_equal(rollout.log_prob["sum"], rollout.obs.astype(np.float64).sum((2, 3, 4)))

    count, total = np.zeros(ENVS, int), np.zeros(ENVS)
    for t in range(STEPS):
        count = np.where(rollout.start[t], 0, count) + 1  # the memory is reset by the end that precedes the frame
        total = np.where(rollout.start[t], 0, total) + rollout.reward[t]
        np.testing.assert_array_equal(rollout.log_prob["count"][t], count)
        np.testing.assert_array_equal(rollout.greedy_action[t], count % 5)
        np.testing.assert_allclose(rollout.episode_return[t], total, atol=1e-6)
    np.testing.assert_array_equal(after.memory, count)


def test_values_of_what_follows(played: Any) -> None:
    env, (_, rollout), _ = played
    goes_on = ~(rollout.terminated | rollout.truncated)[:-1]
    np.testing.assert_array_equal(rollout.bootstrap_value[:-1][goes_on], rollout.value[1:][goes_on])
    # Where the clock ended it: the value of the final frame, as seen by a memory that has not been reset.
    for t, number in np.argwhere(rollout.truncated):
        hits = round(10 * rollout.episode_return[t, number])
        target = int(rollout.obs[t, number, 0, 0, 0]) // 40 - 1
        _, state = env.reset(jax.random.key(0))
        final = state.replace(target=jnp.int32(target), hits=jnp.int32(hits), time=jnp.int32(10))
        frame = np.asarray(env.get_obs(final)).astype(np.float64).sum()
        assert rollout.bootstrap_value[t, number] == frame + rollout.log_prob["count"][t, number] + 1


def test_the_clock_counts_as_an_end_where_nothing_is_bootstrapped(played: Any) -> None:
    _, (_, through), (_, rollout) = played
    np.testing.assert_array_equal(rollout.terminated, through.terminated | through.truncated)
    assert not rollout.truncated.any()
    for name in ("obs", "action", "start", "reward", "value"):
        np.testing.assert_array_equal(getattr(rollout, name), getattr(through, name))
    goes_on = ~rollout.terminated
    np.testing.assert_array_equal(rollout.bootstrap_value[goes_on], through.bootstrap_value[goes_on])

    steps = map(jnp.asarray, (rollout.reward, rollout.bootstrap_value, rollout.terminated, rollout.truncated))
    targets = np.asarray(lambda_returns(*steps, gamma=0.9, td_lambda=0.5))
    np.testing.assert_array_equal(targets[through.truncated], rollout.reward[through.truncated])


def test_an_environment_depends_on_its_own_key_alone() -> None:
    env = Tiny(obs_size=64)

    def run(keys: jax.Array, starts: jax.Array) -> Any:
        actors = start_episodes(Recorder(), env, env.default_params, starts)
        task = Task(env, env.default_params, None, keys[0])
        return collect(Recorder(), task, act, value, actors, keys, 8, bootstrap_truncated=True)[1]

    keys, starts = (jax.random.split(jax.random.key(seed), 4) for seed in (0, 1))
    whole, part = jax.jit(run)(keys, starts), jax.jit(run)(keys[2:], starts[2:])
    np.testing.assert_array_equal(whole.action[:, 2:], part.action)
    np.testing.assert_array_equal(whole.obs[:, 2:], part.obs)


@pytest.mark.parametrize("memory", ["mingru", "none"])
def test_a_batch_is_what_its_sequences_are_by_themselves(memory: str) -> None:
    keys = jax.random.split(jax.random.key(0), 3)
    network = ActorCriticRNN(5, keys[0], memory, obs_size=64, encoder="keypoint", memory_size=8, layers=1, hidden_size=8)
    obs = jax.random.bits(keys[1], (6, 3, 64, 64, 3), jnp.uint8)
    last_action = jax.random.randint(keys[2], (6, 3), 0, 5)
    start = jnp.zeros((6, 3), bool).at[[0, 0, 3], [0, 1, 1]].set(True)
    before = jax.tree.map(lambda leaf: jnp.full((3, *leaf.shape), 0.5), network.initial_state())

    after, outputs = eqx.filter_jit(run_batch)(network, before, obs, last_action, start)
    one = eqx.filter_jit(network)
    for number in range(3):
        mine = jax.tree.map(lambda leaf, number=number: leaf[number], before)
        expected = one(mine, obs[:, number], last_action[:, number], start[:, number])
        actual = jax.tree.map(lambda leaf, number=number: leaf[number], after), [x[:, number] for x in outputs]
        jax.tree.map(
            lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-5),
            jax.tree.leaves(actual),
            jax.tree.leaves(expected),
        )
