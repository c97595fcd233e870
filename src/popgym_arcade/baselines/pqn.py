"""PQN: Q-learning on parallel environments, without replay and without a target network.

Source: Gallici et al. 2024, "Simplifying Deep Temporal Difference Learning", arXiv 2407.04811.
"""

import dataclasses

import jax
import jax.numpy as jnp

from popgym_arcade.baselines.algorithm import Metrics, QLearning
from popgym_arcade.baselines.collect import Rollout
from popgym_arcade.baselines.on_policy import OnPolicy
from popgym_arcade.baselines.returns import lambda_returns


@dataclasses.dataclass(frozen=True, kw_only=True)
class PQN(QLearning, OnPolicy):
    """The algorithm and its settings. The network's output is Q, float32[num_actions]."""

    burn_in: int = 4

    def targets(self, rollout: Rollout) -> jax.Array:
        """The lambda returns of the best Q."""
        ends = rollout.terminated, rollout.truncated
        return lambda_returns(rollout.reward, rollout.next_value, *ends, discount=self.discount, decay=self.decay)

    def batch_loss(
        self, output: jax.Array, batch: Rollout, targets: jax.Array, weight: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """Half the squared distance of the Q of what was done from its target."""
        q = jnp.take_along_axis(output, batch.action[..., None], -1)[..., 0]
        loss = 0.5 * jnp.average(jnp.square(q - targets), weights=weight)
        return loss, {"loss": loss, "q": jnp.average(q, weights=weight)}
