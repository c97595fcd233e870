"""PPO: policy gradients with a clipped ratio, generalised advantages, and a value function.

Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms", arXiv 1707.06347.
"""

import dataclasses

import jax
import jax.numpy as jnp
import optax

from popgym_arcade.baselines.algorithm import Metrics, Share
from popgym_arcade.baselines.collect import Rollout
from popgym_arcade.baselines.on_policy import OnPolicy
from popgym_arcade.baselines.returns import lambda_returns

Output = tuple[jax.Array, jax.Array]


@dataclasses.dataclass(frozen=True, kw_only=True)
class PPO(OnPolicy):
    """The algorithm and its settings. The network's output is (logits float32[num_actions], value float32[])."""

    learning_rate: float = 1e-4
    """Falls to 0 over the whole run, on a line."""
    clip: float = 0.2
    """How far the ratio of probabilities may move from 1 before it is no longer followed."""
    value_weight: float = 0.5
    """Of the value's error in the loss."""
    entropy_weight: float = 0.01
    """Of the entropy in the loss."""

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")

    def act(self, key: jax.Array, output: Output, steps: jax.Array) -> tuple[jax.Array, jax.Array]:
        """Draw an action, and keep its log probability."""
        logits, _ = output
        action = jax.random.categorical(key, logits).astype(jnp.int32)
        return action, jax.nn.log_softmax(logits)[action]

    def value(self, output: Output) -> jax.Array:
        """What the network says."""
        return output[1]

    def targets(self, rollout: Rollout) -> tuple[jax.Array, jax.Array]:
        """Returns, and advantages."""
        ends = rollout.terminated, rollout.truncated
        returns = lambda_returns(rollout.reward, rollout.next_value, *ends, discount=self.discount, decay=self.decay)
        return returns, returns - rollout.value

    def adapt_targets(
        self, targets: tuple[jax.Array, jax.Array], weight: jax.Array, share: Share
    ) -> tuple[jax.Array, jax.Array]:
        """Normalise the advantages over the minibatch."""
        returns, advantage = targets
        mean = share.mean(jnp.average(advantage, weights=weight))
        variance = share.mean(jnp.average(jnp.square(advantage - mean), weights=weight))
        return returns, (advantage - mean) / (jnp.sqrt(variance) + 1e-8)

    def batch_loss(
        self, output: Output, batch: Rollout, targets: tuple[jax.Array, jax.Array], weight: jax.Array
    ) -> tuple[jax.Array, Metrics]:
        """The clipped surrogate, the squared error of the value, and the entropy."""
        logits, value = output
        returns, advantage = targets
        log_probabilities = jax.nn.log_softmax(logits)
        now = jnp.take_along_axis(log_probabilities, batch.action[..., None], -1)[..., 0]
        ratio = jnp.exp(now - batch.kept)
        clipped = jnp.clip(ratio, 1 - self.clip, 1 + self.clip)
        policy_loss = -jnp.average(jnp.minimum(ratio * advantage, clipped * advantage), weights=weight)
        value_loss = 0.5 * jnp.average(jnp.square(value - returns), weights=weight)
        entropy = -jnp.average(jnp.sum(jnp.exp(log_probabilities) * log_probabilities, -1), weights=weight)
        loss = policy_loss + self.value_weight * value_loss - self.entropy_weight * entropy
        return loss, {"loss": loss, "policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}

    def optimizer(self) -> optax.GradientTransformation:
        """Adam behind a clipped norm."""
        schedule = optax.linear_schedule(self.learning_rate, 0.0, self.gradient_steps(self.total_timesteps))
        return optax.chain(optax.clip_by_global_norm(self.max_gradient_norm), optax.adam(schedule, eps=1e-5))
