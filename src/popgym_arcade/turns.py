"""Batches of steps in NumPy, for checks and tests: what they ask of a view is compiled once, for batches of one size.

Compiling is what checks cost, so their loops are Python's.
"""

import functools
import itertools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np

from popgym_arcade.environment import Environment

ENVS = 16
"""How many episodes are played at once."""
STEPS = 48
"""How many steps a run has whose keys are drawn together."""


class Outcome(NamedTuple):
    """The results of a batch of steps, in NumPy; every leaf has the leading axis ENVS, in a run (STEPS, ENVS)."""

    observation: Any
    state: Any
    reward: Any
    done: Any
    info: Any
    plain: Any
    """(state, reward, done, info) of `step_env` with the same arguments."""
    fresh: Any
    """(observation, state) of `reset` with keys of its own."""


@functools.lru_cache(maxsize=8)
def _turn(env: Environment[Any, Any]) -> Callable[..., Outcome]:
    def turn(key: jax.Array, fresh_key: jax.Array, state: Any, action: jax.Array, params: Any) -> Outcome:
        key, fresh_key = map(jax.random.wrap_key_data, (key, fresh_key))
        _, *plain = env.step_env(key, state, action, params)
        return Outcome(*env.step(key, state, action, params), tuple(plain), env.reset(fresh_key, params))

    return jax.jit(jax.vmap(turn, in_axes=(0, 0, 0, 0, None)))


@functools.lru_cache(maxsize=8)
def _drawing(env: Environment[Any, Any]) -> Callable[[Any], jax.Array]:
    return jax.jit(jax.vmap(env.get_obs))


def draw_keys(seed: int) -> np.ndarray:
    """Draw keys for a run: uint32[STEPS, ENVS, 2]."""
    return np.asarray(jax.random.key_data(jax.random.split(jax.random.key(seed), (STEPS, ENVS))))


def many_keys(seed: int) -> Iterator[np.ndarray]:
    """Draw keys for any number of steps: uint32[ENVS, 2] each."""
    for block in itertools.count():
        yield from draw_keys(1000 * seed + block)


def take_turn(
    env: Environment[Any, Any], keys: np.ndarray, states: Any, actions: np.ndarray, params: Any, fresh_keys: Any = None
) -> Outcome:
    """Take one step in ENVS environments.

    Args:
        env: either view of a game.
        keys: uint32[ENVS, 2].
        states: with the leading axis ENVS.
        actions: int32[ENVS].
        params: the parameters of the game.
        fresh_keys: those of the fresh starts, uint32[ENVS, 2]; if left out, `keys`.
    """
    fresh_keys = keys if fresh_keys is None else fresh_keys
    return jax.tree.map(np.asarray, _turn(env)(keys, fresh_keys, states, np.asarray(actions, np.int32), params))


def start(env: Environment[Any, Any], keys: np.ndarray, params: Any) -> tuple[np.ndarray, Any]:
    """Start ENVS episodes with keys, uint32[ENVS, 2]: (observations, states), in NumPy."""
    nowhere = jax.tree.map(lambda leaf: np.zeros((ENVS, *leaf.shape), leaf.dtype), env.state_like)
    return take_turn(env, keys, nowhere, np.zeros(ENVS), params).fresh


def draw(env: Environment[Any, Any], states: Any) -> np.ndarray:
    """Draw up to STEPS * ENVS states, in NumPy, as a view shows them: uint8[states, obs_size, obs_size, 3]."""
    count = len(jax.tree.leaves(states)[0])
    padding = STEPS * ENVS - count
    states = jax.tree.map(lambda leaf: np.concatenate([leaf, np.repeat(leaf[-1:], padding, 0)]), states)
    return np.asarray(_drawing(env)(states))[:count]


def stack(batches: Sequence[Any]) -> Any:
    """Put pytrees of arrays, one for each step, into one with a first axis for the steps."""
    return jax.tree.map(lambda *leaves: np.stack(leaves), *batches)
