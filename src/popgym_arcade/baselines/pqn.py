"""PQN: Q-learning on parallel environments, without a replay buffer and without a target network.

Source: Gallici et al. 2024, "Simplifying Deep Temporal Difference Learning", arXiv 2407.04811.
"""

import dataclasses
from typing import Any

import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

from popgym_arcade.baselines.algorithm import Learner, Metrics, Task, check_fractions
from popgym_arcade.baselines.collect import episode_metrics, init_actors
from popgym_arcade.baselines.minibatches import burn_in_mask, gradient_steps, policy_churn, shuffled, take, unroll
from popgym_arcade.baselines.q_learning import QLearning, q_of
from popgym_arcade.baselines.returns import lambda_returns


@dataclasses.dataclass(frozen=True, kw_only=True)
class PQN(QLearning[Learner]):
    """PQN and its hyperparameters. The network returns Q-values, float32[A]."""

    td_lambda: float = 0.95
    """Lambda of the targets, Q(lambda): 0 bootstraps after every step, 1 at the ends of rollouts alone."""

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        check_fractions(self, "td_lambda")

    def init(self, params: Any, task: Task) -> Learner:
        """Return where training starts."""
        actors = init_actors(task, params, self.num_envs)
        return Learner(params, self.optimizer().init(params), actors, updates=jnp.int32(0))

    def update(self, learner: Learner, task: Task) -> tuple[Learner, Metrics]:
        """Collect a rollout, compute its targets, and take gradient steps on it."""
        # Collect: every environment is played on for `num_steps` steps, epsilon-greedily.
        network = task.network(learner.params)
        actors, rollout = self.play(network, task, learner.actors, learner.updates)

        # Targets: Q(lambda), computed once per rollout, with the network that collected it.
        targets = lambda_returns(
            rollout.reward,
            rollout.bootstrap_value,
            rollout.terminated,
            rollout.truncated,
            gamma=self.gamma,
            td_lambda=self.td_lambda,
        )

        # Gradient steps: regression of the Q-values of the actions taken, in `epochs` times `minibatches` steps.
        def loss_fn(params: Any, indices: Int32[Array, "B"]) -> tuple[Float32[Array, ""], Metrics]:
            memory, (batch, target) = take(indices, learner.actors.memory, (rollout, targets))
            q = q_of(unroll(task.network(params), memory, batch), batch.action)
            mask = burn_in_mask(self.burn_in, q)
            loss = 0.5 * jnp.average(jnp.square(q - target), weights=mask)
            return loss, {"loss": loss, "q": jnp.average(q, weights=mask)}

        minibatches = shuffled(self, task, network, learner.updates)
        params, opt_state, metrics = gradient_steps(
            loss_fn, self.optimizer(), learner.params, learner.opt_state, minibatches, task.shard
        )
        metrics |= policy_churn(self, task.network(params), learner.actors.memory, rollout, task.shard)
        learner = Learner(params, opt_state, actors, learner.updates + 1)
        return learner, metrics | episode_metrics(rollout, task.shard)
