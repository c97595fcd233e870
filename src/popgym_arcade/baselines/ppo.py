"""PPO: policy gradients with a clipped probability ratio, generalised advantage estimation, and a value function.

Source: Schulman et al. 2017, "Proximal Policy Optimization Algorithms", arXiv 1707.06347.
"""

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jaxtyping import Array, Float32, Int32, PRNGKeyArray

from popgym_arcade.baselines.algorithm import Algorithm, Learner, Metrics, Task, annealed, check_fractions
from popgym_arcade.baselines.collect import collect, episode_metrics, init_actors
from popgym_arcade.baselines.minibatches import burn_in_mask, gradient_steps, policy_churn, shuffled, take, unroll
from popgym_arcade.baselines.returns import lambda_returns


@dataclasses.dataclass(frozen=True, kw_only=True)
class PPO(Algorithm[Learner]):
    """PPO and its hyperparameters. The network returns (logits float32[A], value float32[])."""

    learning_rate: float = 1e-4
    """Falls linearly to 0 over the whole run."""
    gae_lambda: float = 0.95
    """Lambda of generalised advantage estimation."""
    clip_eps: float = 0.2
    """The distance of the probability ratio from 1 beyond which its gradient is clipped."""
    vf_coef: float = 0.5
    """The weight of the value's squared error in the loss."""
    ent_coef: float = 0.01
    """The weight of the entropy bonus in the loss, at the start."""
    last_ent_coef: float | None = None
    """Reached linearly at the end of the run; by default the weight stays."""

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        check_fractions(self, "gae_lambda")
        if not self.learning_rate > 0:
            raise ValueError(f"learning_rate must be positive, got {self.learning_rate}")
        if self.ent_coef < 0 or (self.last_ent_coef or 0) < 0:
            raise ValueError(
                f"ent_coef and last_ent_coef must not be negative, got {self.ent_coef} and {self.last_ent_coef}"
            )

    def ent_coef_at(self, steps: Int32[Array, ""] | int) -> Float32[Array, ""]:
        """Return the weight of the entropy bonus after so many steps, float32[]."""
        last = self.ent_coef if self.last_ent_coef is None else self.last_ent_coef
        return annealed(self.ent_coef, last, self.total_timesteps, steps)

    def optimizer(self) -> optax.GradientTransformation:
        """Adam or Muon with clipped gradients and a learning rate that falls linearly."""
        schedule = optax.linear_schedule(self.learning_rate, 0.0, self.gradient_steps(self.total_timesteps))
        return self.clipped(functools.partial(optax.adam, eps=1e-5), schedule)

    def init(self, params: Any, task: Task) -> Learner:
        """Return where training starts."""
        actors = init_actors(task, params, self.num_envs)
        return Learner(params, self.optimizer().init(params), actors, updates=jnp.int32(0))

    def update(self, learner: Learner, task: Task) -> tuple[Learner, Metrics]:
        """Collect a rollout, estimate advantages, and take gradient steps on it."""
        # Collect: actions are drawn from the policy, and their log probabilities kept.
        network = task.network(learner.params)

        def policy(
            key: PRNGKeyArray, output: tuple[Float32[Array, "A"], Float32[Array, ""]]
        ) -> tuple[Int32[Array, ""], Float32[Array, ""]]:
            logits, _ = output
            action = jax.random.categorical(key, logits).astype(jnp.int32)
            return action, jax.nn.log_softmax(logits)[action]

        keys = task.env_keys(learner.updates, self.num_envs)
        actors, rollout = collect(
            network,
            task,
            policy,
            lambda output: output[1],
            learner.actors,
            keys,
            self.num_steps,
            bootstrap_truncated=self.bootstrap_truncated,
        )

        # Advantages: lambda returns less the values.
        returns = lambda_returns(
            rollout.reward,
            rollout.bootstrap_value,
            rollout.terminated,
            rollout.truncated,
            gamma=self.gamma,
            td_lambda=self.gae_lambda,
        )
        advantages = returns - rollout.value

        # Gradient steps: the clipped surrogate objective, the value's error and the entropy bonus.
        ent_coef = self.ent_coef_at(learner.updates * self.steps_per_update)

        def loss_fn(params: Any, indices: Int32[Array, "B"]) -> tuple[Float32[Array, ""], Metrics]:
            memory, (batch, target, advantage) = take(indices, learner.actors.memory, (rollout, returns, advantages))
            logits, value = unroll(task.network(params), memory, batch)
            mask = burn_in_mask(self.burn_in, value)

            # Advantages are normalised over the minibatch, on all devices.
            mean = task.shard.mean(jnp.average(advantage, weights=mask))
            variance = task.shard.mean(jnp.average(jnp.square(advantage - mean), weights=mask))
            advantage = (advantage - mean) / (jnp.sqrt(variance) + 1e-8)

            log_probs = jax.nn.log_softmax(logits)
            log_prob = jnp.take_along_axis(log_probs, batch.action[..., None], -1)[..., 0]
            ratio = jnp.exp(log_prob - batch.log_prob)
            clipped = jnp.clip(ratio, 1 - self.clip_eps, 1 + self.clip_eps)
            policy_loss = -jnp.average(jnp.minimum(ratio * advantage, clipped * advantage), weights=mask)
            value_loss = 0.5 * jnp.average(jnp.square(value - target), weights=mask)
            entropy = -jnp.average(jnp.sum(jnp.exp(log_probs) * log_probs, -1), weights=mask)
            loss = policy_loss + self.vf_coef * value_loss - ent_coef * entropy
            return loss, {"loss": loss, "policy_loss": policy_loss, "value_loss": value_loss, "entropy": entropy}

        minibatches = shuffled(self, task, network, learner.updates)
        params, opt_state, metrics = gradient_steps(
            loss_fn, self.optimizer(), learner.params, learner.opt_state, minibatches, task.shard
        )
        metrics |= policy_churn(self, task.network(params), learner.actors.memory, rollout, task.shard)
        learner = Learner(params, opt_state, actors, learner.updates + 1)
        return learner, metrics | episode_metrics(rollout, task.shard)
