"""Evaluation: whole episodes, each counted once."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Int32, PRNGKeyArray

from popgym_arcade.baselines.algorithm import Network
from popgym_arcade.baselines.collect import Actors, Policy, Step, greedy_action, start_episodes, step_agents
from popgym_arcade.environment import Environment
from popgym_arcade.experts import Episode


def greedy(key: PRNGKeyArray, output: Any) -> tuple[Int32[Array, ""], None]:
    """Take the best action, int32[]; a `Policy`."""
    return greedy_action(output), None


@functools.partial(jax.jit, static_argnums=1)
def greedy_step(network: Network, env: Environment[Any, Any], actors: Actors, key: PRNGKeyArray) -> tuple[Actors, Step]:
    """Let one greedy agent take one step, under the environment's default parameters; compiled once for all of its kind."""
    return step_agents(network, env, env.default_params, greedy, actors, key[None])


def evaluate(
    network: Network, env: Environment[Any, Any], env_params: Any, policy: Policy, key: PRNGKeyArray, episodes: int
) -> Episode:
    """Play episodes to their ends, all at once; fit for jit.

    Args:
        network: of the agent.
        env: the environment, in the view to play in.
        env_params: its parameters.
        policy: (key, output of the network) -> (action, anything).
        key: one JAX random key; each episode and each step in it has a key of its own.
        episodes: how many.

    Returns:
        the results of the episodes; every leaf has a leading axis episodes.
    """
    keys = jax.vmap(lambda number: jax.random.split(jax.random.fold_in(key, number)))(jnp.arange(episodes))
    actors = start_episodes(network, env, env_params, keys[:, 0])

    def goes_on(carry: tuple[Any, Episode]) -> Bool[Array, ""]:
        return ~jnp.all(carry[1].terminated | carry[1].truncated)

    def step(carry: tuple[Any, Episode]) -> tuple[Any, Episode]:
        actors, played = carry
        is_over = played.terminated | played.truncated
        step_keys = jax.vmap(jax.random.fold_in)(keys[:, 1], played.length)
        actors, step = step_agents(network, env, env_params, policy, actors, step_keys)
        # An episode that is over stays as it is, whatever its environment plays on for the sake of the others.
        now = Episode(
            total=played.total + step.reward,
            length=played.length + 1,
            terminated=step.info["terminated"],
            truncated=step.info["truncated"],
        )
        return actors, jax.tree.map(lambda old, new: jnp.where(is_over, old, new), played, now)

    none = jnp.zeros(episodes, bool)
    nothing = Episode(jnp.zeros(episodes, jnp.float32), jnp.zeros(episodes, jnp.int32), none, none)
    return jax.lax.while_loop(goes_on, step, (actors, nothing))[1]
