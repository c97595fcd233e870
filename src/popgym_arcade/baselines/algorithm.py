"""What all algorithms share: settings, where training starts, and one update.

An algorithm says what it does at one step, what a state is worth to it, what it learns from and its loss. An update is one
compiled program: play on, then take gradient steps. The loop over updates belongs to the caller.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import optax

from popgym_arcade.baselines.collect import Actors, Rollout, begin, collect
from popgym_arcade.environment import Environment

Metrics = dict[str, jax.Array]
_LARGEST, _LARGEST_COUNT = float(np.finfo(np.float32).max), (1 << 31) - 1


class Learner(NamedTuple):
    """All that training is, a pytree of arrays: whoever keeps it can go on."""

    weights: Any
    """The arrays of the network."""
    target: Any
    """Those of the target network; () if there is none."""
    opt_state: Any
    actors: Actors
    """Every leaf has a leading axis num_envs."""
    replay: Any
    """What is kept of earlier updates; every leaf has num_envs as its second axis. () if nothing is."""
    updates: jax.Array
    """How many have been made, int32[]."""


Update = Callable[[Learner], tuple[Learner, Metrics]]


@dataclasses.dataclass(frozen=True)
class Share:
    """The part of the environments that one device plays; all of them, if there is no axis.

    All that is random belongs to an environment, or to a row of them, by its number among all, so it does not matter how
    many devices share the work.
    """

    axis: str | None = None
    """The name of the devices' axis, as in `jax.shard_map`."""
    devices: int = 1

    def numbers(self, count: int) -> jax.Array:
        """The numbers, among all, of this device's part of `count` things, int32[count / devices]."""
        part = count // self.devices
        return jnp.arange(part) + (0 if self.axis is None else part * jax.lax.axis_index(self.axis))

    def mean(self, tree: Any) -> Any:
        """Average over the devices, each of which has as much as any other."""
        return tree if self.axis is None else jax.lax.pmean(tree, self.axis)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Algorithm(abc.ABC):
    """An algorithm, with the settings that all have. Steps, where not said otherwise, are environment steps."""

    total_timesteps: float = 1e7
    """Steps of the whole run, of all environments together."""
    num_envs: int = 16
    """Environments that are played at once."""
    num_steps: int = 128
    """Steps of each environment in an update."""
    epochs: int = 4
    """How many steps an update learns from, in multiples of those it makes."""
    minibatches: int = 16
    """Gradient steps in an epoch."""
    burn_in: int = 0
    """Steps at the start of a sequence that warm up a memory, and are not learned from."""
    max_gradient_norm: float = 0.5
    """Longer gradients are shortened to it."""
    discount: float = 0.99
    """Gamma."""

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            ValueError: if one is out of range.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            if value is not None and not abs(value) <= _LARGEST:
                raise ValueError(f"{field.name} must be a number of 32 bits, got {value}")
        check_counts(self, "total_timesteps", "num_envs", "num_steps", "epochs", "minibatches")
        if not self.max_gradient_norm > 0:
            raise ValueError(f"max_gradient_norm must be positive, got {self.max_gradient_norm}")
        if not 0 <= self.discount <= 1:
            raise ValueError(f"discount must be from 0 to 1, got {self.discount}")
        if not 0 <= self.burn_in < self.num_steps:
            raise ValueError(f"burn_in must be at least 0 and below num_steps, {self.num_steps}, got {self.burn_in}")

    @property
    def steps_per_update(self) -> int:
        """Environment steps in an update."""
        return self.num_envs * self.num_steps

    def gradient_steps(self, steps: float) -> int:
        """Convert environment steps to gradient steps, at least one."""
        return max(1, round(steps / self.steps_per_update * self.epochs * self.minibatches))

    @abc.abstractmethod
    def act(self, key: jax.Array, output: Any, steps: jax.Array) -> tuple[jax.Array, Any]:
        """Return (action int32[], what else is to be kept), after so many steps of training."""

    @abc.abstractmethod
    def value(self, output: Any) -> jax.Array:
        """Return what a state is worth, float32[]."""

    @abc.abstractmethod
    def optimizer(self) -> optax.GradientTransformation:
        """Return what follows the gradients."""

    @abc.abstractmethod
    def remember(self, learner: Learner, rollout: Rollout) -> tuple[Any, Any]:
        """Return (the replay with the rollout in it, what this update learns from)."""

    @abc.abstractmethod
    def choose(self, key: jax.Array, network: Any, updates: jax.Array, share: Share) -> Any:
        """Choose what the gradient steps learn from; every leaf with a leading axis epochs * minibatches."""

    @abc.abstractmethod
    def minibatch(self, network: Any, tape: Any, chosen: Any, share: Share) -> Any:
        """Return what a gradient step learns from, targets included."""

    @abc.abstractmethod
    def loss(self, network: Any, batch: Any) -> tuple[jax.Array, Metrics]:
        """Return the loss of a minibatch and its parts."""

    def check(self, network: Any, share: Share) -> None:
        """See that the settings fit together.

        Raises:
            ValueError: if not.
        """
        memory = has_memory(network)
        what = "num_envs, as the network has a memory," if memory else "num_envs * num_steps"
        sequences = self.num_envs if memory else self.steps_per_update
        parts = self.minibatches * share.devices
        if sequences % parts or self.num_envs % share.devices:
            times = f" times the number of devices, {share.devices}" if share.devices > 1 else ""
            raise ValueError(f"{what} must be a multiple of minibatches, {self.minibatches}{times}; got {sequences}")

    def first_target(self, weights: Any) -> Any:
        """Return the first weights of the target network."""
        return ()

    def next_target(self, target: Any, weights: Any, updates: jax.Array) -> Any:
        """Return those after so many updates."""
        return target

    def empty_replay(self, actors: Actors) -> Any:
        """Return a replay that holds nothing yet."""
        return ()

    def start(
        self, network: Any, env: Environment[Any, Any], params: Any, key: jax.Array, share: Share = Share()
    ) -> Learner:
        """Return where training starts.

        Args:
            network: with its first weights.
            env: the game.
            params: its numbers.
            key: that of the run.
            share: the part of the environments that is played here.

        Raises:
            ValueError: if the settings do not fit together.
        """
        self.check(network, share)
        weights = eqx.filter(network, eqx.is_inexact_array)
        actors = begin(network, env, params, env_keys(key, jnp.int32(-1), share.numbers(self.num_envs)))
        return Learner(
            weights=weights,
            target=self.first_target(weights),
            opt_state=self.optimizer().init(weights),
            actors=actors,
            replay=self.empty_replay(actors),
            updates=jnp.int32(0),
        )

    def play_on(
        self,
        network: Any,
        env: Environment[Any, Any],
        params: Any,
        key: jax.Array,
        learner: Learner,
        share: Share = Share(),
    ) -> tuple[Actors, Rollout]:
        """Collect what an update learns from; `network` has the learner's weights, see `make_update` for the rest."""
        steps = learner.updates * self.steps_per_update
        return collect(
            network,
            env,
            params,
            lambda key, output: self.act(key, output, steps),
            self.value,
            learner.actors,
            env_keys(key, learner.updates, share.numbers(self.num_envs)),
            self.num_steps,
        )

    def make_update(
        self, network: Any, env: Environment[Any, Any], params: Any, key: jax.Array, share: Share = Share()
    ) -> Update:
        """Return one update, fit for jit, for vmap over learners, and, given a share, for shard_map.

        Args:
            network: gives the structure; its weights are the learner's.
            env: the game.
            params: its numbers.
            key: that of the run. Each update and each environment in it has keys of its own, derived from their numbers.
            share: the part of the environments that is played here.

        The metrics are float32[]: means of the parts of the loss and of `gradient_norm` over the gradient steps; and of
        the episodes that ended while playing `episodes`, their number, and `mean_return`, nan if there are none.
        """
        optimizer = self.optimizer()
        structure = eqx.filter(network, eqx.is_inexact_array, inverse=True)

        def update(learner: Learner) -> tuple[Learner, Metrics]:
            actors, rollout = self.play_on(eqx.combine(learner.weights, structure), env, params, key, learner, share)
            replay, tape = self.remember(learner, rollout)

            def learn(carry: tuple[Any, Any], chosen: Any) -> tuple[tuple[Any, Any], Metrics]:
                weights, opt_state = carry
                batch = self.minibatch(eqx.combine(weights, structure), tape, chosen, share)
                loss = jax.grad(lambda weights: self.loss(eqx.combine(weights, structure), batch), has_aux=True)
                gradient, metrics = share.mean(loss(weights))
                changes, opt_state = optimizer.update(gradient, opt_state, weights)
                metrics["gradient_norm"] = optax.tree.norm(gradient)
                return (optax.apply_updates(weights, changes), opt_state), metrics

            chosen = self.choose(learning_key(key, learner.updates), network, learner.updates, share)
            (weights, opt_state), metrics = jax.lax.scan(learn, (learner.weights, learner.opt_state), chosen)
            updates = learner.updates + 1
            after = Learner(
                weights=weights,
                target=self.next_target(learner.target, weights, updates),
                opt_state=opt_state,
                actors=actors,
                replay=replay,
                updates=updates,
            )
            return after, jax.tree.map(jnp.mean, metrics) | episode_metrics(rollout, share)

        return update


@dataclasses.dataclass(frozen=True, kw_only=True)
class QLearning(Algorithm):
    """What algorithms share whose network's output is Q, float32[num_actions]: exploration, and the optimiser."""

    learning_rate: float = 5e-5
    """At the start."""
    last_learning_rate: float = 5e-7
    """Reached after `learning_rate_steps`, on a line."""
    learning_rate_steps: float | None = None
    """By default the whole run."""
    epsilon: float = 1.0
    """The share of random actions at the start."""
    last_epsilon: float = 0.05
    """Reached after `epsilon_steps`, on a line."""
    epsilon_steps: float | None = None
    """By default half of the run."""

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        check_counts(self, "learning_rate_steps", "epsilon_steps")
        if not (self.learning_rate > 0 and self.last_learning_rate >= 0):
            rates = f"{self.learning_rate} and {self.last_learning_rate}"
            raise ValueError(f"learning_rate must be positive and last_learning_rate not negative, got {rates}")
        for name in ("epsilon", "last_epsilon"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"{name} must be from 0 to 1, got {getattr(self, name)}")

    def act(self, key: jax.Array, output: jax.Array, steps: jax.Array) -> tuple[jax.Array, None]:
        """Take the best action, but for a share of random ones."""
        length = self.total_timesteps / 2 if self.epsilon_steps is None else self.epsilon_steps
        share = optax.linear_schedule(self.epsilon, self.last_epsilon, max(1, round(length)))(steps)
        key_explore, key_action = jax.random.split(key)
        random = jax.random.randint(key_action, (), 0, len(output), jnp.int32)
        return jnp.where(jax.random.uniform(key_explore) < share, random, jnp.argmax(output).astype(jnp.int32)), None

    def value(self, output: jax.Array) -> jax.Array:
        """The best Q."""
        return jnp.max(output)

    def optimizer(self) -> optax.GradientTransformation:
        """RAdam behind a clipped norm."""
        length = self.total_timesteps if self.learning_rate_steps is None else self.learning_rate_steps
        schedule = optax.linear_schedule(self.learning_rate, self.last_learning_rate, self.gradient_steps(length))
        return optax.chain(optax.clip_by_global_norm(self.max_gradient_norm), optax.radam(schedule))


def check_counts(settings: Any, *names: str) -> None:
    """See that settings are positive, or None, and can be counted in 32 bits, as JAX does.

    Raises:
        ValueError: if one is not.
    """
    for name in names:
        value = getattr(settings, name)
        if value is not None and not 0 < value <= _LARGEST_COUNT:
            raise ValueError(f"{name} must be positive, and at most {_LARGEST_COUNT}, got {value}")


def has_memory(network: Any) -> bool:
    """Whether a network carries anything from frame to frame."""
    return bool(jax.tree.leaves(eqx.filter_eval_shape(lambda network: network.initial_state(), network)))


def env_keys(key: jax.Array, update: jax.Array, numbers: jax.Array) -> jax.Array:
    """The keys of environments in an update, counted from 0; those of update -1 start them."""
    key = jax.random.fold_in(jax.random.fold_in(key, 1), 1 + update)
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(numbers)


def learning_key(key: jax.Array, update: jax.Array) -> jax.Array:
    """The key of what is drawn at random to learn from in an update."""
    return jax.random.fold_in(jax.random.fold_in(key, 2), update)


def episode_metrics(rollout: Rollout, share: Share) -> Metrics:
    """Count the episodes that ended in a rollout, and average their returns."""
    ended = rollout.terminated | rollout.truncated
    mean_count, mean_total = share.mean((jnp.sum(ended, dtype=jnp.float32), jnp.sum(rollout.total, where=ended)))
    return {"episodes": mean_count * share.devices, "mean_return": mean_total / mean_count}
