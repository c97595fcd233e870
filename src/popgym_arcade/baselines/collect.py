"""Collection: a network plays a batch of environments, and what it saw, did and got is kept."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from popgym_arcade.environment import Environment

Act = Callable[[jax.Array, Any], tuple[jax.Array, Any]]
"""(key, output of the network at one step) -> (action int32[], what else is to be kept of the step)."""
Value = Callable[[Any], jax.Array]
"""Output of the network at one step -> value of the state, float32[]."""


class Actors(NamedTuple):
    """What a batch of players carries from step to step; every leaf has a leading axis num_envs."""

    env_state: Any
    obs: jax.Array
    """uint8[num_envs, obs_size, obs_size, 3]"""
    last_action: jax.Array
    """int32[num_envs]; means nothing where `start`."""
    start: jax.Array
    """Whether `obs` begins an episode, bool[num_envs]."""
    memory: Any
    """The memory before it has seen `obs`."""
    total: jax.Array
    """The undiscounted return of the episode so far, float32[num_envs]."""


class Rollout(NamedTuple):
    """What a batch of players went through; every leaf but `memory` has leading axes num_steps and num_envs."""

    memory: Any
    """The memories before the first step, with a leading axis num_envs."""
    obs: jax.Array
    """What they saw, uint8[num_steps, num_envs, obs_size, obs_size, 3]; each frame once."""
    last_action: jax.Array
    """int32."""
    start: jax.Array
    """Whether `obs` begins an episode, bool."""
    action: jax.Array
    """What they did, int32."""
    reward: jax.Array
    """float32."""
    terminated: jax.Array
    """Whether the rules ended the episode with this step, bool."""
    truncated: jax.Array
    """Whether the clock did and the rules did not, bool."""
    value: jax.Array
    """The value of the state they were in, float32."""
    next_value: jax.Array
    """The value of the state the step led to, float32: where the clock ended the episode that of its final state."""
    total: jax.Array
    """The episode's undiscounted return so far, this step included, float32."""
    kept: Any
    """What else `act` has kept."""


def begin(network: Any, env: Environment[Any, Any], params: Any, keys: jax.Array) -> Actors:
    """Start an episode in each environment, one key each."""
    obs, env_state = jax.vmap(env.reset, in_axes=(0, None))(keys, params)
    count = len(keys)
    memory = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), network.initial_state())
    return Actors(
        env_state=env_state,
        obs=obs,
        last_action=jnp.zeros(count, jnp.int32),
        start=jnp.ones(count, bool),
        memory=memory,
        total=jnp.zeros(count, jnp.float32),
    )


def look(network: Any, memory: Any, obs: jax.Array, last_action: jax.Array, start: jax.Array) -> tuple[Any, Any]:
    """Show each network of a batch one frame: (memory, output), every leaf with a leading axis num_envs."""

    def one(memory: Any, obs: jax.Array, last_action: jax.Array, start: jax.Array) -> tuple[Any, Any]:
        memory, output = network(memory, obs[None], last_action[None], start[None])
        return memory, jax.tree.map(lambda leaf: leaf[0], output)

    return jax.vmap(one)(memory, obs, last_action, start)


def collect(
    network: Any,
    env: Environment[Any, Any],
    params: Any,
    act: Act,
    value: Value,
    actors: Actors,
    keys: jax.Array,
    num_steps: int,
) -> tuple[Actors, Rollout]:
    """Play on for some steps.

    Args:
        network: (memory, obs[T], last_action[T], start[T]) -> (memory, output[T]), for one environment.
        env: the game.
        params: its numbers.
        act: chooses actions.
        value: tells what a state is worth.
        actors: where the players are.
        keys: one for each environment, so that what happens in it depends on its own alone.
        num_steps: how many steps.

    Returns:
        (where the players are then, what they went through).
    """

    def step(actors: Actors, number: jax.Array) -> tuple[Actors, Rollout]:
        both = jax.vmap(lambda key: jax.random.split(jax.random.fold_in(key, number)))(keys)
        memory, output = look(network, actors.memory, actors.obs, actors.last_action, actors.start)
        action, kept = jax.vmap(act)(both[:, 0], output)
        obs, env_state, reward, done, info = jax.vmap(env.step, in_axes=(0, 0, 0, None))(
            both[:, 1], actors.env_state, action, params
        )
        total = actors.total + reward

        def final_value() -> jax.Array:
            frames = jax.vmap(env.get_obs)(info["final_state"])
            return jax.vmap(value)(look(network, memory, frames, action, jnp.zeros_like(done))[1])

        # Few steps meet the clock: only they draw final frames, and look at them.
        worth = jax.lax.cond(jnp.any(info["truncated"]), final_value, lambda: jnp.zeros_like(reward))
        went_through = Rollout(
            memory=None,
            obs=actors.obs,
            last_action=actors.last_action,
            start=actors.start,
            action=action,
            reward=reward,
            terminated=info["terminated"],
            truncated=info["truncated"],
            value=jax.vmap(value)(output),
            next_value=worth,
            total=total,
            kept=kept,
        )
        actors = Actors(
            env_state=env_state,
            obs=obs,
            last_action=action,
            start=done,
            memory=memory,
            total=jnp.where(done, 0.0, total),
        )
        return actors, went_through

    after, rollout = jax.lax.scan(step, actors, jnp.arange(num_steps))
    _, output = look(network, after.memory, after.obs, after.last_action, after.start)
    following = jnp.concatenate([rollout.value[1:], jax.vmap(value)(output)[None]])
    next_value = jnp.where(rollout.truncated, rollout.next_value, following)
    return after, rollout._replace(memory=actors.memory, next_value=next_value)
