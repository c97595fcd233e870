"""Collection: a network plays a batch of environments, and every step is recorded."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32, PRNGKeyArray, PyTree, Shaped, UInt8

from popgym_arcade.baselines.algorithm import Metrics, Network, Shard, Task
from popgym_arcade.baselines.arrays import Keys
from popgym_arcade.baselines.model.builder import MemoryNetwork
from popgym_arcade.environment import Environment

Policy = Callable[[PRNGKeyArray, Any], tuple[Int32[Array, ""], Float32[Array, ""] | None]]
"""(key, output of the network at one step) -> (action, its log probability, or None)."""
Value = Callable[[Any], Float32[Array, ""]]
"""Output of the network at one step -> value of the state."""


class Actors(NamedTuple):
    """The state of agents and environments between steps."""

    env_state: PyTree[Shaped[Array, "N ..."]]
    obs: UInt8[Array, "N S S 3"]
    last_action: Int32[Array, "N"]
    """Unused where `start`."""
    start: Bool[Array, "N"]
    """Whether `obs` begins an episode."""
    memory: PyTree[Shaped[Array, "N ..."]]
    """The memory before it has seen `obs`."""
    episode_return: Float32[Array, "N"]
    """The undiscounted return of the episode so far."""


class Step(NamedTuple):
    """One step of a batch of agents."""

    output: PyTree[Shaped[Array, "N ..."]]
    """That of the network."""
    action: Int32[Array, "N"]
    log_prob: Float32[Array, "N"] | None
    """The log probability of the action; None if the policy tells none."""
    reward: Float32[Array, "N"]
    info: dict[str, PyTree[Shaped[Array, "N ..."]]]
    """That of `Environment.step`."""


class Rollout(NamedTuple):
    """A recorded rollout."""

    obs: UInt8[Array, "T N S S 3"]
    """Each frame once."""
    last_action: Int32[Array, "T N"]
    """Unused where `start`."""
    start: Bool[Array, "T N"]
    """Whether `obs` begins an episode."""
    action: Int32[Array, "T N"]
    greedy_action: Int32[Array, "T N"]
    """The action that the network prefers."""
    log_prob: Float32[Array, "T N"] | None
    """The log probability of the action; None if the policy tells none."""
    reward: Float32[Array, "T N"]
    terminated: Bool[Array, "T N"]
    """Whether the episode ended with this step for good: by the rules, or by the clock where it counts as an end."""
    truncated: Bool[Array, "T N"]
    """Whether the clock ended it, and `bootstrap_value` stands for what would follow."""
    value: Float32[Array, "T N"]
    """The value of the state before the step."""
    bootstrap_value: Float32[Array, "T N"]
    """The value of the state after the step: where the clock ended the episode that of its final state."""
    episode_return: Float32[Array, "T N"]
    """The undiscounted return of the episode so far, this step included."""


def action_scores(output: Any) -> Float32[Array, "... A"]:
    """Return what a network prefers actions by: Q-values, or the logits of a policy, float32[..., A]."""
    return output[0] if isinstance(output, tuple) else output


def greedy_action(output: Any) -> Int32[Array, "..."]:
    """Return the action that a network prefers, by its output, int32[...]."""
    return jnp.argmax(action_scores(output), axis=-1).astype(jnp.int32)


def init_actors(task: Task, params: Any, num_envs: int) -> Actors:
    """Start an episode in each of this device's environments; `params` are those of the network."""
    return start_episodes(task.network(params), task.env, task.env_params, task.env_keys(-1, num_envs))


def start_episodes(network: Network, env: Environment[Any, Any], env_params: Any, keys: Keys) -> Actors:
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


def run_batch(
    network: Network,
    memory: PyTree[Shaped[Array, "B ..."]],
    obs: UInt8[Array, "T B S S 3"],
    last_action: Int32[Array, "T B"],
    start: Bool[Array, "T B"],
) -> tuple[PyTree[Shaped[Array, "B ..."]], PyTree[Shaped[Array, "T B ..."]]]:
    """Run a network over a batch of sequences, as `jax.vmap` would, but show its encoder all frames at once.

    Args:
        network: a `MemoryNetwork` answers by its `encoder` and `remember`; any other one is called, and where it has no
            memory, with all frames as one sequence.
        memory: the memories before the sequences; every leaf [B, ...].
        obs: their frames, uint8[T, B, S, S, 3].
        last_action: the actions that led there, int32[T, B].
        start: whether a frame begins an episode, bool[T, B].

    Returns:
        (memory after them, every leaf [B, ...]; outputs, every leaf [T, B, ...]).
    """

    def joined(leaf: Shaped[Array, "T B ..."]) -> Shaped[Array, "frames ..."]:
        return leaf.reshape(-1, *leaf.shape[2:])

    def parted(leaf: Shaped[Array, "frames ..."]) -> Shaped[Array, "T B ..."]:
        return leaf.reshape(*start.shape, *leaf.shape[1:])

    # Of one sequence an encoder may look at a few frames at a time; under vmap these would be a few of each sequence.
    if not jax.tree.leaves(memory):
        memory, outputs = network(memory, joined(obs), joined(last_action), joined(start))
        return memory, jax.tree.map(parted, outputs)
    answer, seen = network, obs
    if isinstance(network, MemoryNetwork):
        answer, seen = network.remember, parted(network.encoder(joined(obs)))
    return jax.vmap(answer, in_axes=(0, 1, 1, 1), out_axes=(0, 1))(memory, seen, last_action, start)


def forward(
    network: Network,
    memory: PyTree[Shaped[Array, "N ..."]],
    obs: UInt8[Array, "N S S 3"],
    last_action: Int32[Array, "N"],
    start: Bool[Array, "N"],
) -> tuple[PyTree[Shaped[Array, "N ..."]], PyTree[Shaped[Array, "N ..."]]]:
    """Show one frame to the network of each environment: (memory, output), every leaf [N, ...]."""
    memory, outputs = run_batch(network, memory, obs[None], last_action[None], start[None])
    return memory, jax.tree.map(lambda leaf: leaf[0], outputs)


def step_agents(
    network: Network, env: Environment[Any, Any], env_params: Any, policy: Policy, actors: Actors, keys: Keys
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
    keys: Keys,
    num_steps: int,
    *,
    bootstrap_truncated: bool,
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
        bootstrap_truncated: whether a value stands for what would follow where the clock ends an episode; if not, such an
            episode counts as terminated.

    Returns:
        (actors after the last step, the rollout).
    """
    env = task.env

    def step(before: Actors, number: Int32[Array, ""]) -> tuple[Actors, Rollout]:
        step_keys = jax.vmap(lambda key: jax.random.fold_in(key, number))(keys)
        actors, step = step_agents(network, env, task.env_params, policy, before, step_keys)
        terminated, truncated = step.info["terminated"], step.info["truncated"]

        def final_value() -> Float32[Array, "N"]:
            frames = jax.vmap(env.get_obs)(step.info["final_state"])
            return jax.vmap(value)(forward(network, actors.memory, frames, step.action, jnp.zeros_like(truncated))[1])

        bootstrap_value = jnp.zeros_like(step.reward)
        if bootstrap_truncated:
            # Few steps meet the clock: only they draw final frames, and value them.
            bootstrap_value = jax.lax.cond(jnp.any(truncated), final_value, lambda: bootstrap_value)
        else:
            terminated, truncated = terminated | truncated, jnp.zeros_like(truncated)
        recorded = Rollout(
            obs=before.obs,
            last_action=before.last_action,
            start=before.start,
            action=step.action,
            greedy_action=greedy_action(step.output),
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
