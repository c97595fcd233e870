"""Evaluation: whole episodes, each counted once."""

from typing import Any

import jax
import jax.numpy as jnp

from popgym_arcade.baselines.collect import Act, begin, look
from popgym_arcade.environment import Environment
from popgym_arcade.experts import Episode


def rate(output: Any) -> jax.Array:
    """What decisions rest on: the Q values, or the logits of a policy, float32[..., num_actions]."""
    return output[0] if isinstance(output, tuple) else output


def greedy(key: jax.Array, output: Any) -> tuple[jax.Array, None]:
    """Take the action that is rated best; an `Act`."""
    return jnp.argmax(rate(output)).astype(jnp.int32), None


def evaluate(network: Any, env: Environment[Any, Any], params: Any, act: Act, key: jax.Array, episodes: int) -> Episode:
    """Play episodes to their ends, all at once; fit for jit.

    Args:
        network: plays them.
        env: the game, in the view to play in.
        params: its numbers.
        act: (key, output of the network) -> (action, anything).
        key: one JAX random key; each episode and each step in it has keys of its own.
        episodes: how many.

    Returns:
        what became of each episode; every leaf has a leading axis episodes.
    """
    keys = jax.vmap(lambda number: jax.random.split(jax.random.fold_in(key, number)))(jnp.arange(episodes))
    actors = begin(network, env, params, keys[:, 0])
    none = jnp.zeros(episodes, bool)

    def goes_on(carry: tuple[Any, Episode]) -> jax.Array:
        return ~jnp.all(carry[1].terminated | carry[1].truncated)

    def step(carry: tuple[Any, Episode]) -> tuple[Any, Episode]:
        actors, played = carry
        is_over = played.terminated | played.truncated
        both = jax.vmap(lambda key, time: jax.random.split(jax.random.fold_in(key, time)))(keys[:, 1], played.length)
        memory, output = look(network, actors.memory, actors.obs, actors.last_action, actors.start)
        action, _ = jax.vmap(act)(both[:, 0], output)
        after = jax.vmap(env.step_env, in_axes=(0, 0, 0, None))(both[:, 1], actors.env_state, action, params)
        obs, env_state, reward, _, info = after
        # What is over stays as it is, whatever is played on for the sake of the others.
        played = Episode(
            total=jnp.where(is_over, played.total, played.total + reward),
            length=jnp.where(is_over, played.length, played.length + 1),
            terminated=jnp.where(is_over, played.terminated, info["terminated"]),
            truncated=jnp.where(is_over, played.truncated, info["truncated"]),
        )
        actors = actors._replace(env_state=env_state, obs=obs, last_action=action, start=none, memory=memory)
        return actors, played

    nothing = Episode(jnp.zeros(episodes, jnp.float32), jnp.zeros(episodes, jnp.int32), none, none)
    return jax.lax.while_loop(goes_on, step, (actors, nothing))[1]
