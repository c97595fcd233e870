"""From rollouts to gradient steps: shuffled minibatches, a mask for burn-in, and the loop over gradient steps.

A minibatch of a network with memory holds whole sequences; without memory every frame is a sequence of length one, counted
environment by environment. Sequences lie in rows as long as there are minibatches. Each row is shuffled by itself and gives
one sequence to each minibatch: so devices, which have whole rows, need not exchange frames.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
from jaxtyping import Array, Float32, Int32, PyTree, Shaped

from popgym_arcade.baselines.algorithm import Algorithm, Metrics, Network, Shard, Task, has_memory
from popgym_arcade.baselines.collect import Rollout, greedy_action, run_batch


def shuffled(algorithm: Algorithm[Any], task: Task, network: Network, updates: Int32[Array, ""]) -> Int32[Array, "G B"]:
    """Deal out the sequences of a rollout to minibatches, anew in each epoch.

    Returns:
        the indices of the sequences of each minibatch, int32[G, B], G = epochs * minibatches.
    """
    key = task.minibatch_key(updates)
    sequences = algorithm.num_envs if has_memory(network) else algorithm.steps_per_update
    rows = task.shard.indices(sequences // algorithm.minibatches)

    def order(epoch: Int32[Array, ""], row: Int32[Array, ""]) -> Int32[Array, "minibatches"]:
        key_row = jax.random.fold_in(jax.random.fold_in(key, epoch), row)
        return jax.random.permutation(key_row, algorithm.minibatches)

    orders = jax.vmap(lambda epoch: jax.vmap(lambda row: order(epoch, row))(rows))(jnp.arange(algorithm.epochs))
    indices = orders + algorithm.minibatches * jnp.arange(len(rows))[:, None]
    return indices.swapaxes(1, 2).reshape(algorithm.epochs * algorithm.minibatches, -1)


def take(
    indices: Int32[Array, "B"], memory: PyTree[Shaped[Array, "N ..."]], steps: PyTree[Shaped[Array, "T N ..."]]
) -> tuple[PyTree[Shaped[Array, "B ..."]], PyTree[Shaped[Array, "_ B ..."]]]:
    """Gather the sequences of a minibatch.

    Args:
        indices: of the sequences, int32[B].
        memory: the memories before the rollout; every leaf [N, ...].
        steps: a pytree, such as a rollout and its targets; every leaf [T, N, ...].

    Returns:
        (memory, steps) of the minibatch; every leaf [B, ...], and [T, B, ...], or [1, B, ...] where there is no memory.
    """
    if jax.tree.leaves(memory):
        return jax.tree.map(lambda leaf: leaf[indices], memory), jax.tree.map(lambda leaf: leaf[:, indices], steps)
    num_steps = len(jax.tree.leaves(steps)[0])
    env, time = jnp.divmod(indices, num_steps)
    return memory, jax.tree.map(lambda leaf: leaf[time, env][None], steps)


def burn_in_mask(burn_in: int, like: Float32[Array, "T B"]) -> Float32[Array, "T B"]:
    """Weigh the steps of sequences, float32[T, B] as `like`: the first `burn_in` of each 0, the others 1.

    Single frames, sequences of length one, have nothing to warm up.
    """
    time = np.arange(len(like))
    is_warm = (time >= burn_in) | (len(like) == 1)
    return jnp.broadcast_to(is_warm.astype(np.float32)[:, None], like.shape)


def unroll(
    network: Network, memory: PyTree[Shaped[Array, "B ..."]], rollout: Rollout | Any
) -> PyTree[Float32[Array, "T B ..."]]:
    """Run a network over the sequences of a minibatch; return its outputs, every leaf float32[T, B, ...]."""
    return run_batch(network, memory, rollout.obs, rollout.last_action, rollout.start)[1]


def policy_churn(
    algorithm: Algorithm[Any], network: Network, memory: PyTree[Shaped[Array, "N ..."]], rollout: Rollout, shard: Shard
) -> Metrics:
    """Measure in how much of a rollout an update has changed the greedy action: `policy_churn`, float32[], from 0 to 1.

    As many sequences are looked at again as a minibatch of memories has.

    Args:
        algorithm: says how many that are.
        network: after the update.
        memory: the memories before the rollout; every leaf [N, ...].
        rollout: collected before the update.
        shard: the mean is over its devices.

    Source: Schaul et al. 2022, "The Phenomenon of Policy Churn", arXiv 2206.00730.
    """
    count = max(1, rollout.action.shape[1] // algorithm.minibatches)
    memory, seen = jax.tree.map(lambda leaf: leaf[:count], memory), jax.tree.map(lambda leaf: leaf[:, :count], rollout)
    changed = greedy_action(unroll(network, memory, seen)) != seen.greedy_action
    return {"policy_churn": shard.mean(jnp.mean(changed, dtype=jnp.float32))}


def gradient_steps(
    loss_fn: Callable[[Any, Any], tuple[Float32[Array, ""], Metrics]],
    optimizer: optax.GradientTransformation,
    params: Any,
    opt_state: Any,
    minibatches: PyTree[Shaped[Array, "G ..."]],
    shard: Shard,
) -> tuple[Any, Any, Metrics]:
    """Take a gradient step for each minibatch.

    Args:
        loss_fn: (params, minibatch) -> (loss, metrics).
        optimizer: follows the gradients.
        params: of the network.
        opt_state: of the optimizer.
        minibatches: a pytree, one for each step; every leaf [G, ...].
        shard: gradients and metrics are averaged over its devices.

    Returns:
        (params, opt_state, metrics); the metrics are means over the steps, `gradient_norm` among them.
    """

    def step(carry: tuple[Any, Any], minibatch: Any) -> tuple[tuple[Any, Any], Metrics]:
        params, opt_state = carry
        gradient, metrics = shard.mean(jax.grad(loss_fn, has_aux=True)(params, minibatch))
        changes, opt_state = optimizer.update(gradient, opt_state, params)
        metrics = {**metrics, "gradient_norm": optax.tree.norm(gradient)}
        return (optax.apply_updates(params, changes), opt_state), metrics

    (params, opt_state), metrics = jax.lax.scan(step, (params, opt_state), minibatches)
    return params, opt_state, jax.tree.map(jnp.mean, metrics)
