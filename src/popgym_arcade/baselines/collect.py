"""Collection: a network plays a batch of environments, and every step is recorded."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from popgym_arcade.baselines.algorithm import Metrics, Network, Shard, Task
from popgym_arcade.environment import Environment

Policy = Callable[[jax.Array, Any], tuple[jax.Array, Any]]
"""(key, output of the network at one step) -> (action int32[], its log probability float32[], or None)."""
Value = Callable[[Any], jax.Array]
"""Output of the network at one step -> value of the state, float32[]."""


class Actors(NamedTuple):
    """The state of agents and environments between steps; every leaf has a leading axis num_envs."""

    env_state: Any
    obs: jax.Array
    """uint8[num_envs, obs_size, obs_size, 3]"""
    last_action: jax.Array
    """int32[num_envs], unused where `start`."""
    start: jax.Array
    """Whether `obs` begins an episode, bool[num_envs]."""
    memory: Any
    """The memory before it has seen `obs`."""
    episode_return: jax.Array
    """The undiscounted return of the episode so far, float32[num_envs]."""


class Step(NamedTuple):
    """One step of a batch of agents; every leaf has a leading axis num_envs."""

    output: Any
    """That of the network."""
    action: jax.Array
    """int32."""
    log_prob: Any
    """The log probability of the action, float32; None if the policy tells none."""
    reward: jax.Array
    """float32."""
    info: dict[str, Any]
    """That of `Environment.step`."""


class Rollout(NamedTuple):
    """A recorded rollout; every leaf has leading axes num_steps and num_envs."""

    obs: jax.Array
    """uint8[num_steps, num_envs, obs_size, obs_size, 3]; each frame once."""
    last_action: jax.Array
    """int32, unused where `start`."""
    start: jax.Array
    """Whether `obs` begins an episode, bool."""
    action: jax.Array
    """int32."""
    log_prob: Any
    """The log probability of the action, float32; None if the policy tells none."""
    reward: jax.Array
    """float32."""
    terminated: jax.Array
    """Whether the rules ended the episode with this step, bool."""
    truncated: jax.Array
    """Whether the clock did and the rules did not, bool."""
    value: jax.Array
    """The value of the state before the step, float32."""
    bootstrap_value: jax.Array
    """The value of the state after the step, float32: where the clock ended the episode that of its final state."""
    episode_return: jax.Array
    """The undiscounted return of the episode so far, this step included, float32."""


def init_actors(task: Task, params: Any, num_envs: int) -> Actors:
    """Start an episode in each of this device's environments; `params` are those of the network."""
    return start_episodes(task.network(params), task.env, task.env_params, task.env_keys(-1, num_envs))


def start_episodes(network: Network, env: Environment[Any, Any], env_params: Any, keys: jax.Array) -> Actors:
    """Start an episode in each environment, one key each."""
    obs, env_state = jax.vmap(env.reset, in_axes=(0, None))(keys, env_params)
    count = len(keys)
    memory = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (count, *jnp.shape(leaf))), network.initial_state())
    return Actors(
        env_state=env_state,
        obs=obs,
        last_action=jnp.zeros(count, jnp.int32),
        start=jnp.ones(count, bool),
        memory=memory,
        episode_return=jnp.zeros(count, jnp.float32),
    )


def forward(network: Network, memory: Any, obs: jax.Array, last_action: jax.Array, start: jax.Array) -> tuple[Any, Any]:
    """Show one frame to the network of each environment: (memory, output), every leaf with a leading axis num_envs."""

    def one(memory: Any, obs: jax.Array, last_action: jax.Array, start: jax.Array) -> tuple[Any, Any]:
        memory, output = network(memory, obs[None], last_action[None], start[None])
        return memory, jax.tree.map(lambda leaf: leaf[0], output)

    return jax.vmap(one)(memory, obs, last_action, start)


def step_agents(
    network: Network, env: Environment[Any, Any], env_params: Any, policy: Policy, actors: Actors, keys: jax.Array
) -> tuple[Actors, Step]:
    """Let each agent look at its frame, act, and step its environment, with automatic reset.

    Args:
        network: of the agents.
        env: the environment, in the view that they see.
        env_params: its parameters.
        policy: chooses actions by the network's outputs.
        actors: where the agents are.
        keys: one for each environment: its first half is the policy's, the second the environment's.

    Returns:
        (actors after the step, what it led to).
    """
    key_policy, key_env = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
    memory, output = forward(network, actors.memory, actors.obs, actors.last_action, actors.start)
    action, log_prob = jax.vmap(policy)(key_policy, output)
    step = jax.vmap(env.step, in_axes=(0, 0, 0, None))
    obs, env_state, reward, done, info = step(key_env, actors.env_state, action, env_params)
    actors = Actors(
        env_state=env_state,
        obs=obs,
        last_action=action,
        start=done,
        memory=memory,
        episode_return=jnp.where(done, 0.0, actors.episode_return + reward),
    )
    return actors, Step(output, action, log_prob, reward, info)


def collect(
    network: Network,
    task: Task,
    policy: Policy,
    value: Value,
    actors: Actors,
    keys: jax.Array,
    num_steps: int,
) -> tuple[Actors, Rollout]:
    """Play on for some steps.

    Args:
        network: of the agents.
        task: gives the environment and its parameters.
        policy: chooses actions.
        value: values states.
        actors: where the agents are.
        keys: one for each environment, so that what happens in it depends on its own alone.
        num_steps: how many steps.

    Returns:
        (actors after the last step, the rollout).
    """
    env = task.env

    def step(before: Actors, number: jax.Array) -> tuple[Actors, Rollout]:
        step_keys = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
        actors, step = step_agents(network, env, task.env_params, policy, before, step_keys)
        terminated, truncated = step.info["terminated"], step.info["truncated"]

        def final_value() -> jax.Array:
            frames = jax.vmap(env.get_obs)(step.info["final_state"])
            return jax.vmap(value)(forward(network, actors.memory, frames, step.action, jnp.zeros_like(truncated))[1])

        # Few steps meet the clock: only they draw final frames, and value them.
        bootstrap_value = jax.lax.cond(jnp.any(truncated), final_value, lambda: jnp.zeros_like(step.reward))
        recorded = Rollout(
            obs=before.obs,
            last_action=before.last_action,
            start=before.start,
            action=step.action,
            log_prob=step.log_prob,
            reward=step.reward,
            terminated=terminated,
            truncated=truncated,
            value=jax.vmap(value)(step.output),
            bootstrap_value=bootstrap_value,
            episode_return=before.episode_return + step.reward,
        )
        return actors, recorded

    after, rollout = jax.lax.scan(step, actors, jnp.arange(num_steps))
    _, output = forward(network, after.memory, after.obs, after.last_action, after.start)
    following = jnp.concatenate([rollout.value[1:], jax.vmap(value)(output)[None]])
    return after, rollout._replace(bootstrap_value=jnp.where(rollout.truncated, rollout.bootstrap_value, following))


def episode_metrics(rollout: Rollout, shard: Shard) -> Metrics:
    """Count the episodes that ended in a rollout, and average their returns: `episodes` and `mean_return`, float32[]."""
    ended = rollout.terminated | rollout.truncated
    count, total = jnp.sum(ended, dtype=jnp.float32), jnp.sum(rollout.episode_return, where=ended)
    mean_count, mean_total = shard.mean((count, total))
    return {"episodes": mean_count * shard.num_devices, "mean_return": mean_total / mean_count}
