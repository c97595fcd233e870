"""Agents of which one knows what they look at."""

import functools
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade.baselines.model.builder import ActorCriticRNN, MemoryNetwork, QNetworkRNN
from popgym_arcade.baselines.model.encoder import Encoder
from popgym_arcade.baselines.model.memory import Memory
from popgym_arcade.baselines.pqn import PQN
from popgym_arcade.baselines.training.config import Config
from popgym_arcade.introspection.episode import Recording

SIZE, ACTIONS = 64, 5
SMALL: Any = {"obs_size": SIZE, "encoder": "patch", "memory_size": 32, "hidden_size": 32, "layers": 1}


class Means(Encoder):
    """The mean of each channel: all pixels of all frames count the same."""

    obs_size: int = eqx.field(static=True)
    features: int = eqx.field(static=True)

    def __init__(self, obs_size: int, key: jax.Array) -> None:
        self.obs_size, self.features = obs_size, 3

    def __call__(self, obs: jax.Array) -> jax.Array:
        return (obs.astype(jnp.float32) / 255 if obs.dtype == jnp.uint8 else obs).mean((1, 2))


class Last(Memory):
    """The mean of the last k inputs of an episode, with zeros before its start."""

    frames: int = eqx.field(static=True)
    width: int = eqx.field(static=True)

    def initial_state(self) -> jax.Array:
        return jnp.zeros((self.frames, self.width))

    def __call__(self, state: jax.Array, x: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(state: jax.Array, now: Any) -> tuple[jax.Array, jax.Array]:
            x, start = now
            state = jnp.concatenate([jnp.where(start, 0.0, state)[1:], x[None, : self.width]])
            return state, state.mean(0)

        return jax.lax.scan(step, state, (x, start))


class First(Memory):
    """The first input of an episode."""

    width: int = eqx.field(static=True)

    def initial_state(self) -> jax.Array:
        return jnp.zeros(self.width)

    def __call__(self, state: jax.Array, x: jax.Array, start: jax.Array) -> tuple[jax.Array, jax.Array]:
        def step(state: jax.Array, now: Any) -> tuple[jax.Array, jax.Array]:
            x, start = now
            state = jnp.where(start, x[: self.width], state)
            return state, state

        return jax.lax.scan(step, state, (x, start))


def last(frames: int) -> MemoryNetwork:
    """An agent whose values are a linear map of the last frames' mean colour."""
    return known(lambda *_, **sizes: Last(frames, sizes["output_size"]))


def first() -> MemoryNetwork:
    """An agent whose values are a linear map of the first frame's mean colour."""
    return known(lambda *_, **sizes: First(sizes["output_size"]))


def known(memory: Any) -> MemoryNetwork:
    return QNetworkRNN(ACTIONS, jax.random.key(0), memory, obs_size=SIZE, encoder=Means, hidden_size=3)


@functools.cache
def small(memory: str, seed: int = 0) -> MemoryNetwork:
    return QNetworkRNN(ACTIONS, jax.random.key(seed), memory, **SMALL)


@functools.cache
def policy(memory: str) -> MemoryNetwork:
    return ActorCriticRNN(ACTIONS, jax.random.key(0), memory, **SMALL)


def config(env_id: str, view: Any = "pomdp", obs_size: int = SIZE, seed: int = 0) -> Config[PQN]:
    """The config of an agent with a GRU."""
    return Config(env_id=env_id, view=view, obs_size=obs_size, memory="gru", seed=seed, algorithm=PQN())


def episode(length: int, starts: tuple[int, ...] = (0,), seed: int = 0) -> Recording:
    """An episode of noise; or several, one after the other."""
    random = np.random.default_rng(seed)
    frames = random.integers(0, 256, (length, SIZE, SIZE, 3), np.uint8)
    action = random.integers(0, ACTIONS, length, np.int32)
    rating = random.normal(size=(length, ACTIONS)).astype(np.float32)
    start = np.isin(np.arange(length), starts)
    return Recording(frames, np.roll(action, 1), start, action, np.zeros(length, np.float32), rating, False, None, True)
