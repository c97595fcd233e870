"""What PQN and PPO share: collect a rollout, make targets of it, and learn from it in shuffled minibatches."""

import abc
import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from popgym_arcade.baselines.algorithm import Algorithm, Update, env_keys, learning_key
from popgym_arcade.baselines.collect import Actors, Rollout, begin, collect
from popgym_arcade.environment import Environment


class Learner(NamedTuple):
    """All that training is."""

    weights: Any
    """The arrays of the network."""
    opt_state: Any
    actors: Actors
    updates: jax.Array
    """How many have been made, int32[]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnPolicy(Algorithm):
    """An algorithm that learns from what its players have just done.

    The minibatches of an epoch share the environments or, where the network has no memory, the frames.
    """

    decay: float = 0.95
    """Lambda, of returns and advantages."""

    @abc.abstractmethod
    def targets(self, rollout: Rollout) -> Any:
        """Return what is learned towards; every leaf with leading axes num_steps and num_envs."""

    @abc.abstractmethod
    def loss(self, output: Any, batch: Rollout, targets: Any, weight: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the loss and its parts; all arguments with two leading axes, over which `weight` is one or zero."""

    def start(self, network: Any, env: Environment[Any, Any], params: Any, key: jax.Array) -> Learner:
        """See `Algorithm`."""
        has_memory = _has_memory(network)
        sequences = self.num_envs if has_memory else self.steps_per_update
        if sequences % self.minibatches:
            what = "num_envs, as the network has a memory," if has_memory else "num_envs * num_steps"
            raise ValueError(f"{what} must be a multiple of minibatches, got {sequences} and {self.minibatches}")
        weights = eqx.filter(network, eqx.is_inexact_array)
        actors = begin(network, env, params, env_keys(key, jnp.int32(-1), self.num_envs))
        return Learner(weights, self.optimizer().init(weights), actors, jnp.int32(0))

    def make_update(self, network: Any, env: Environment[Any, Any], params: Any, key: jax.Array) -> Update:
        """See `Algorithm`."""
        optimizer = self.optimizer()
        structure = eqx.filter(network, eqx.is_inexact_array, inverse=True)
        has_memory = _has_memory(network)

        def loss(weights: Any, batch: Rollout, targets: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
            run = jax.vmap(eqx.combine(weights, structure), in_axes=(0, 1, 1, 1), out_axes=(0, 1))
            _, output = run(batch.memory, batch.obs, batch.last_action, batch.start)
            warm = np.arange(len(batch.start)) >= (self.burn_in if has_memory else 0)
            weight = jnp.broadcast_to(warm.astype(np.float32)[:, None], batch.start.shape)
            return self.loss(output, batch, targets, weight)

        def learn(carry: tuple[Any, Any], chosen: jax.Array, tape: tuple[Rollout, Any]) -> tuple[tuple[Any, Any], Any]:
            weights, opt_state = carry
            rollout, targets = tape
            memory = jax.tree.map(lambda leaf: leaf[chosen], rollout.memory)
            batch, wanted = jax.tree.map(lambda leaf: leaf[:, chosen], (rollout._replace(memory=None), targets))
            gradient, metrics = jax.grad(loss, has_aux=True)(weights, batch._replace(memory=memory), wanted)
            changes, opt_state = optimizer.update(gradient, opt_state, weights)
            metrics["gradient_norm"] = optax.tree.norm(gradient)
            return (optax.apply_updates(weights, changes), opt_state), metrics

        def update(learner: Learner) -> tuple[Learner, dict[str, jax.Array]]:
            steps = learner.updates * self.steps_per_update
            actors, rollout = collect(
                eqx.combine(learner.weights, structure),
                env,
                params,
                lambda key, output: self.act(key, output, steps),
                self.value,
                learner.actors,
                env_keys(key, learner.updates, self.num_envs),
                self.num_steps,
            )
            tape = rollout, self.targets(rollout)
            if not has_memory:  # every frame is a sequence of its own
                tape = jax.tree.map(lambda leaf: leaf.reshape(1, -1, *leaf.shape[2:]), tape)
            sequences = tape[0].start.shape[1]
            keys = jax.random.split(learning_key(key, learner.updates), self.epochs)
            orders = jax.vmap(lambda key: jax.random.permutation(key, sequences))(keys)
            (weights, opt_state), metrics = jax.lax.scan(
                lambda carry, chosen: learn(carry, chosen, tape),
                (learner.weights, learner.opt_state),
                orders.reshape(self.epochs * self.minibatches, -1),
            )
            metrics = jax.tree.map(jnp.mean, metrics) | episode_metrics(rollout)
            return Learner(weights, opt_state, actors, learner.updates + 1), metrics

        return update


def _has_memory(network: Any) -> bool:
    return bool(jax.tree.leaves(network.initial_state()))


def episode_metrics(rollout: Rollout) -> dict[str, jax.Array]:
    """Count the episodes that ended in a rollout, and average their returns."""
    ended = rollout.terminated | rollout.truncated
    episodes = jnp.sum(ended).astype(jnp.float32)
    return {"episodes": episodes, "mean_return": jnp.mean(rollout.total, where=ended)}
