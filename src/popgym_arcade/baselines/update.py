"""What PQN and PPO share: collect a rollout, make targets of it, and learn from it in shuffled minibatches.

An algorithm says what it does at one step, what a state is worth to it, what it learns towards, and its loss; see `pqn.py`
and `ppo.py`. One update is one compiled program; the loop over updates belongs to the caller.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import optax

from popgym_arcade.baselines.collect import Actors, Rollout, begin, collect
from popgym_arcade.environment import Environment


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnPolicy(abc.ABC):
    """An algorithm that learns from what its players have just done, with the settings that all such have."""

    num_envs: int = 16
    """Environments that are played at once."""
    num_steps: int = 128
    """Steps of each environment in an update."""
    epochs: int = 4
    """How often an update learns from each step."""
    minibatches: int = 16
    """Gradient steps in an epoch. They share the environments or, without memory, the frames."""
    burn_in: int = 0
    """Steps at the start of a sequence that warm up a memory, and are not learned from."""
    max_gradient_norm: float = 0.5
    discount: float = 0.99
    decay: float = 0.95
    """Lambda, of returns and advantages."""

    @property
    def steps_per_update(self) -> int:
        """Environment steps in an update."""
        return self.num_envs * self.num_steps

    def gradient_steps(self, steps: float) -> int:
        """Convert environment steps to gradient steps, at least one."""
        return max(1, round(steps / self.steps_per_update * self.epochs * self.minibatches))

    @abc.abstractmethod
    def act(self, key: jax.Array, output: Any, steps: jax.Array) -> tuple[jax.Array, Any]:
        """Return (action int32[], what else is to be kept), after so many environment steps of training."""

    @abc.abstractmethod
    def value(self, output: Any) -> jax.Array:
        """Return what a state is worth, float32[]."""

    @abc.abstractmethod
    def targets(self, rollout: Rollout) -> Any:
        """Return what is learned towards; every leaf with leading axes num_steps and num_envs."""

    @abc.abstractmethod
    def loss(self, output: Any, batch: Rollout, targets: Any, weight: jax.Array) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Return the loss and its parts; all arguments with two leading axes, over which `weight` is one or zero."""

    @abc.abstractmethod
    def optimizer(self) -> optax.GradientTransformation:
        """Return what follows the gradients."""


class Learner(NamedTuple):
    """All that training is; whoever keeps this can go on."""

    weights: Any
    """The arrays of the network."""
    opt_state: Any
    actors: Actors
    updates: jax.Array
    """How many have been made, int32[]."""


Update = Callable[[Learner], tuple[Learner, dict[str, jax.Array]]]


def start(algorithm: OnPolicy, network: Any, env: Environment[Any, Any], params: Any, key: jax.Array) -> Learner:
    """Return where training begins."""
    weights = eqx.filter(network, eqx.is_inexact_array)
    actors = begin(network, env, params, _env_keys(key, jnp.int32(-1), algorithm.num_envs))
    return Learner(weights, algorithm.optimizer().init(weights), actors, jnp.int32(0))


def make_update(algorithm: OnPolicy, network: Any, env: Environment[Any, Any], params: Any, key: jax.Array) -> Update:
    """Return one update: learner -> (learner, metrics), fit for jit, and for vmap over learners.

    Args:
        algorithm: what is learned and how.
        network: gives the structure; its weights are the learner's.
        env: the game.
        params: its numbers.
        key: that of the run. Each update and each environment in it has keys of its own, derived from their numbers.

    Raises:
        ValueError: if the minibatches cannot be of one size.

    The metrics are means over the minibatches, all float32[]: the parts of the loss, `gradient_norm`; and of the
    episodes that ended in the rollout `episodes`, their number, `mean_return`, nan if there are none.
    """
    optimizer = algorithm.optimizer()
    structure = eqx.filter(network, eqx.is_inexact_array, inverse=True)
    has_memory = bool(jax.tree.leaves(network.initial_state()))
    sequences = algorithm.num_envs if has_memory else algorithm.steps_per_update
    if sequences % algorithm.minibatches:
        what = "num_envs, as the network has a memory," if has_memory else "num_envs * num_steps"
        raise ValueError(f"{what} must be a multiple of minibatches, got {sequences} and {algorithm.minibatches}")

    def loss(weights: Any, batch: Rollout, targets: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        network = eqx.combine(weights, structure)
        run = jax.vmap(network, in_axes=(0, 1, 1, 1), out_axes=(0, 1))
        _, output = run(batch.memory, batch.obs, batch.last_action, batch.start)
        length = len(batch.start)
        weight = (jnp.arange(length) >= (algorithm.burn_in if length > algorithm.burn_in else 0)).astype(jnp.float32)
        return algorithm.loss(output, batch, targets, jnp.broadcast_to(weight[:, None], batch.start.shape))

    def learn(carry: tuple[Any, Any], chosen: jax.Array, tape: tuple[Rollout, Any]) -> tuple[tuple[Any, Any], Any]:
        weights, opt_state = carry
        rollout, targets = tape
        batch = jax.tree.map(lambda leaf: leaf[:, chosen], (rollout._replace(memory=None), targets))
        memory = jax.tree.map(lambda leaf: leaf[chosen], rollout.memory)
        gradient, metrics = jax.grad(loss, has_aux=True)(weights, batch[0]._replace(memory=memory), batch[1])
        changes, opt_state = optimizer.update(gradient, opt_state, weights)
        metrics["gradient_norm"] = optax.tree.norm(gradient)
        return (optax.apply_updates(weights, changes), opt_state), metrics

    def update(learner: Learner) -> tuple[Learner, dict[str, jax.Array]]:
        key_update = jax.random.fold_in(key, learner.updates)
        steps = learner.updates * algorithm.steps_per_update
        actors, rollout = collect(
            eqx.combine(learner.weights, structure),
            env,
            params,
            lambda key, output: algorithm.act(key, output, steps),
            algorithm.value,
            learner.actors,
            _env_keys(key, learner.updates, algorithm.num_envs),
            algorithm.num_steps,
        )
        tape = rollout, algorithm.targets(rollout)
        if not has_memory:  # every frame is a sequence of its own
            tape = jax.tree.map(lambda leaf: leaf.reshape(1, -1, *leaf.shape[2:]), tape)
        orders = jax.vmap(lambda key: jax.random.permutation(key, sequences))(jax.random.split(key_update, algorithm.epochs))
        batches = orders.reshape(algorithm.epochs * algorithm.minibatches, -1)
        (weights, opt_state), metrics = jax.lax.scan(
            lambda carry, chosen: learn(carry, chosen, tape), (learner.weights, learner.opt_state), batches
        )
        ended = rollout.terminated | rollout.truncated
        metrics = jax.tree.map(jnp.mean, metrics)
        metrics["episodes"] = jnp.sum(ended).astype(jnp.float32)
        metrics["mean_return"] = jnp.mean(rollout.total, where=ended)
        return Learner(weights, opt_state, actors, learner.updates + 1), metrics

    return update


def _env_keys(key: jax.Array, update: jax.Array, num_envs: int) -> jax.Array:
    key = jax.random.fold_in(jax.random.fold_in(key, 1), 1 + update)
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(jnp.arange(num_envs))
