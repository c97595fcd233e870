"""PQN: Q-learning on parallel environments, without replay and without a target network.

Source: Gallici et al. 2024, "Simplifying Deep Temporal Difference Learning", arXiv 2407.04811.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from popgym_arcade.baselines.collect import Rollout
from popgym_arcade.baselines.returns import lambda_returns
from popgym_arcade.baselines.update import OnPolicy


@dataclasses.dataclass(frozen=True, kw_only=True)
class PQN(OnPolicy):
    """The algorithm and its settings. The network's output is Q, float32[num_actions]; steps are environment steps."""

    burn_in: int = 4
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

    def targets(self, rollout: Rollout) -> jax.Array:
        """The lambda returns of the best Q."""
        ends = rollout.terminated, rollout.truncated
        return lambda_returns(rollout.reward, rollout.next_value, *ends, discount=self.discount, decay=self.decay)

    def loss(
        self, output: jax.Array, batch: Rollout, targets: jax.Array, weight: jax.Array
    ) -> tuple[jax.Array, dict[str, jax.Array]]:
        """Half the squared distance of the Q of what was done from its target."""
        q = jnp.take_along_axis(output, batch.action[..., None], -1)[..., 0]
        loss = 0.5 * jnp.average(jnp.square(q - targets), weights=weight)
        return loss, {"loss": loss, "q": jnp.average(q, weights=weight)}

    def optimizer(self) -> optax.GradientTransformation:
        """RAdam behind a clipped norm."""
        length = self.gradient_steps(self.learning_rate_steps)
        schedule = optax.linear_schedule(self.learning_rate, self.last_learning_rate, length)
        return optax.chain(optax.clip_by_global_norm(self.max_gradient_norm), optax.radam(schedule))
