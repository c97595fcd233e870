"""What all algorithms share: settings, and what training is made of.

An algorithm says what it does at one step and what a state is worth to it, and makes two functions: where training starts,
and one update, a single compiled program. The loop over updates belongs to the caller.
"""

import abc
import dataclasses
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import optax

from popgym_arcade.environment import Environment

Update = Callable[[Any], tuple[Any, dict[str, jax.Array]]]
"""learner -> (learner, metrics). A learner is a pytree of arrays, and all that training is: whoever keeps it can go on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Algorithm(abc.ABC):
    """An algorithm, with the settings that all have. Steps, where not said otherwise, are environment steps."""

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
    discount: float = 0.99

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
    def start(self, network: Any, env: Environment[Any, Any], params: Any, key: jax.Array) -> Any:
        """Return where training starts, a learner.

        Args:
            network: with its first weights.
            env: the game.
            params: its numbers.
            key: that of the run.

        Raises:
            ValueError: if the settings do not fit together.
        """

    @abc.abstractmethod
    def make_update(self, network: Any, env: Environment[Any, Any], params: Any, key: jax.Array) -> Update:
        """Return one update, fit for jit, and for vmap over learners.

        Args:
            network: gives the structure; its weights are the learner's.
            env: the game.
            params: its numbers.
            key: that of the run. Each update and each environment in it has keys of its own, derived from their numbers.

        The metrics are float32[]: means of the parts of the loss and of `gradient_norm` over the gradient steps; and of
        the episodes that ended while playing `episodes`, their number, and `mean_return`, nan if there are none.
        """


@dataclasses.dataclass(frozen=True, kw_only=True)
class QLearning(Algorithm):
    """What algorithms share whose network's output is Q, float32[num_actions]: exploration, and the optimiser."""

    learning_rate: float = 5e-5
    last_learning_rate: float = 5e-7
    """Reached after `learning_rate_steps`, on a line."""
    learning_rate_steps: float = 2e6
    epsilon: float = 1.0
    """The share of random actions at the start."""
    last_epsilon: float = 0.05
    """Reached after `epsilon_steps`, on a line."""
    epsilon_steps: float = 8e6

    def act(self, key: jax.Array, output: jax.Array, steps: jax.Array) -> tuple[jax.Array, None]:
        """Take the best action, but for a share of random ones."""
        share = optax.linear_schedule(self.epsilon, self.last_epsilon, round(self.epsilon_steps))(steps)
        key_explore, key_action = jax.random.split(key)
        random = jax.random.randint(key_action, (), 0, len(output), jnp.int32)
        return jnp.where(jax.random.uniform(key_explore) < share, random, jnp.argmax(output).astype(jnp.int32)), None

    def value(self, output: jax.Array) -> jax.Array:
        """The best Q."""
        return jnp.max(output)

    def optimizer(self) -> optax.GradientTransformation:
        """RAdam behind a clipped norm."""
        length = self.gradient_steps(self.learning_rate_steps)
        schedule = optax.linear_schedule(self.learning_rate, self.last_learning_rate, length)
        return optax.chain(optax.clip_by_global_norm(self.max_gradient_norm), optax.radam(schedule))


def env_keys(key: jax.Array, update: jax.Array, num_envs: int) -> jax.Array:
    """The keys of the environments in an update, counted from 0; those of update -1 start them."""
    key = jax.random.fold_in(jax.random.fold_in(key, 1), 1 + update)
    return jax.vmap(lambda number: jax.random.fold_in(key, number))(jnp.arange(num_envs))


def learning_key(key: jax.Array, update: jax.Array) -> jax.Array:
    """The key of what is drawn at random to learn from in an update."""
    return jax.random.fold_in(jax.random.fold_in(key, 2), update)
