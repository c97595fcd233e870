"""Q-learning as PQN and DQN share it: annealed epsilon and learning rate, and a network that returns Q-values."""

import abc
import dataclasses

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float32, Int32, PRNGKeyArray

from popgym_arcade.baselines.algorithm import Algorithm, L, Network, Task, annealed, check_counts, check_fractions
from popgym_arcade.baselines.collect import Actors, Policy, Rollout, collect


@dataclasses.dataclass(frozen=True, kw_only=True)
class QLearning(Algorithm[L], abc.ABC):
    """An algorithm whose network returns Q-values, float32[A], and which explores epsilon-greedily."""

    burn_in: int = 4
    learning_rate: float = 5e-5
    """At the start."""
    last_learning_rate: float = 5e-7
    """Reached linearly after `learning_rate_steps`."""
    learning_rate_steps: float | None = None
    """By default the whole run."""
    epsilon: float = 1.0
    """The fraction of random actions at the start."""
    last_epsilon: float = 0.05
    """Reached linearly after `epsilon_steps`."""
    epsilon_steps: float | None = None
    """By default half of the run."""

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        check_counts(self, "learning_rate_steps", "epsilon_steps")
        check_fractions(self, "epsilon", "last_epsilon")
        if not (self.learning_rate > 0 and self.last_learning_rate >= 0):
            rates = f"{self.learning_rate} and {self.last_learning_rate}"
            raise ValueError(f"learning_rate must be positive and last_learning_rate not negative, got {rates}")

    def epsilon_at(self, steps: Int32[Array, ""] | int) -> Float32[Array, ""]:
        """Return the fraction of random actions after so many steps, float32[]."""
        length = self.total_timesteps / 2 if self.epsilon_steps is None else self.epsilon_steps
        return annealed(self.epsilon, self.last_epsilon, length, steps)

    def policy(self, updates: Int32[Array, ""]) -> Policy:
        """Return the policy that collects after so many updates: epsilon-greedy."""
        epsilon = self.epsilon_at(updates * self.steps_per_update)
        return lambda key, q_values: (epsilon_greedy(key, q_values, epsilon), None)

    def play(self, network: Network, task: Task, actors: Actors, updates: Int32[Array, ""]) -> tuple[Actors, Rollout]:
        """Play every environment on for `num_steps` steps, by `policy`; return the actors after it and the rollout."""
        return collect(
            network,
            task,
            self.policy(updates),
            jnp.max,
            actors,
            task.env_keys(updates, self.num_envs),
            self.num_steps,
            bootstrap_truncated=self.bootstrap_truncated,
        )

    def optimizer(self) -> optax.GradientTransformation:
        """RAdam or Muon with clipped gradients and a learning rate that falls linearly."""
        length = self.total_timesteps if self.learning_rate_steps is None else self.learning_rate_steps
        schedule = optax.linear_schedule(self.learning_rate, self.last_learning_rate, self.gradient_steps(length))
        return self.clipped(optax.radam, schedule)


def epsilon_greedy(key: PRNGKeyArray, q_values: Float32[Array, "A"], epsilon: Float32[Array, ""]) -> Int32[Array, ""]:
    """Return the best action by its Q-value, float32[A], or with probability `epsilon` a random one: int32[]."""
    explore, which = jax.random.uniform(key, (2,))
    random = (which * len(q_values)).astype(jnp.int32)
    return jnp.where(explore < epsilon, random, jnp.argmax(q_values).astype(jnp.int32))


def q_of(q_values: Float32[Array, "T B A"], action: Int32[Array, "T B"]) -> Float32[Array, "T B"]:
    """Return the Q-values of the actions taken: float32[T, B] from float32[T, B, A] and int32[T, B]."""
    return jnp.take_along_axis(q_values, action[..., None], -1)[..., 0]
