"""The replay, against a list of all that was ever written; and where DQN draws from it."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade.baselines import replay
from popgym_arcade.baselines.algorithm import Task
from popgym_arcade.baselines.collect import Actors, Rollout
from popgym_arcade.baselines.dqn import DQN
from tests.tiny import Tiny

ENVS, STEPS, CHUNKS = 4, 3, 2


def actors() -> Actors:
    count = jnp.zeros(ENVS, jnp.int32)
    obs, flags = jnp.zeros((ENVS, 2, 2, 3), jnp.uint8), jnp.zeros(ENVS, bool)
    return Actors((), obs, count, flags, {"h": jnp.zeros((ENVS, 5))}, jnp.zeros(ENVS))


def rollout(rng: np.random.Generator) -> Rollout:
    shape = (STEPS, ENVS)
    ends = rng.integers(0, 3, shape)
    return Rollout(
        obs=jnp.asarray(rng.integers(0, 256, (*shape, 2, 2, 3)), jnp.uint8),
        last_action=jnp.asarray(rng.integers(0, 5, shape), jnp.int32),
        start=jnp.asarray(rng.integers(0, 2, shape), bool),
        action=jnp.asarray(rng.integers(0, 5, shape), jnp.int32),
        greedy_action=jnp.zeros(shape, jnp.int32),
        reward=jnp.asarray(rng.normal(size=shape), jnp.float32),
        terminated=jnp.asarray(ends == 1),
        truncated=jnp.asarray(ends == 2),
        value=jnp.zeros(shape),
        bootstrap_value=jnp.zeros(shape),
        episode_return=jnp.zeros(shape),
        log_prob=None,
    )


@pytest.mark.parametrize("updates", [1, 2, 3, 5])
def test_what_was_written_is_read(updates: int) -> None:
    rng = np.random.default_rng(updates)
    ring = replay.empty(actors(), CHUNKS, STEPS)
    written: list[Any] = []
    memories = rng.normal(size=(updates, ENVS, 5)).astype(np.float32)
    for number in range(updates):
        written.append(rollout(rng))
        ring = replay.write(ring, written[-1], {"h": jnp.asarray(memories[number])}, jnp.int32(number))
    tape = jax.tree.map(lambda *leaves: np.concatenate(leaves), *written)
    last = updates * STEPS - 1
    for time in range(STEPS * max(0, updates - CHUNKS), last + 1):
        slot, env = jnp.full(ENVS, time % (STEPS * CHUNKS)), jnp.arange(ENVS)
        sample = replay.read_sequences(ring, slot, env, 1, jnp.int32(updates - 1), STEPS)
        for name in ("obs", "last_action", "start", "action", "reward", "terminated"):
            np.testing.assert_array_equal(getattr(sample, name)[0], getattr(tape, name)[time])
        known = ~tape.truncated[time] & (time < last)
        np.testing.assert_array_equal(sample.has_target[0], tape.terminated[time] | known)
        if time < last:
            np.testing.assert_array_equal(sample.obs[1], tape.obs[time + 1])
    begun = jnp.array([STEPS * ((updates - 1) % CHUNKS)])
    newest = replay.read_sequences(ring, begun, jnp.array([2]), STEPS, jnp.int32(updates - 1), STEPS)
    np.testing.assert_array_equal(newest.memory["h"][0], memories[-1, 2])
    np.testing.assert_array_equal(newest.obs[:-1, 0], written[-1].obs[:, 2])


class Network:
    def __init__(self, has_memory: bool) -> None:
        self.state = jnp.zeros(2) if has_memory else ()

    def initial_state(self) -> Any:
        return self.state

    def __call__(self, *arguments: Any) -> Any:
        raise AssertionError("where to draw from does not depend on outputs")


@pytest.mark.parametrize("has_memory", [False, True])
@pytest.mark.parametrize("updates", [0, 1, 4])
def test_draws_are_uniform_over_what_is_there(has_memory: bool, updates: int) -> None:
    algorithm = DQN(num_envs=8, num_steps=4, minibatches=2, epochs=500, burn_in=0, replay_size=96)
    task = Task(Tiny(), None, None, jax.random.key(0))
    slot, env = map(np.asarray, jax.jit(lambda: algorithm.draw(task, Network(has_memory), jnp.int32(updates)))())
    filled = 4 * min(updates + 1, 3)
    counts = np.zeros((filled, 8), int)
    np.add.at(counts, (slot, env), 1)
    if has_memory:
        assert counts[np.arange(filled) % 4 != 0].sum() == 0  # sequences begin where rollouts do
        counts = counts[::4]
    expected = slot.size / counts.size
    assert slot.shape == (1000, 4 if has_memory else 16)
    assert np.all(np.abs(counts - expected) < 6 * np.sqrt(expected))
