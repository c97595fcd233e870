"""DQN: Q-learning from a replay buffer, with a target network.

Sources: Mnih et al. 2015, "Human-level control through deep reinforcement learning"; with memory Kapturowski et al. 2019,
"Recurrent Experience Replay in Distributed Reinforcement Learning": stored memories, and a burn-in that refreshes them.
"""

import dataclasses
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float32, Int32

from popgym_arcade import checks
from popgym_arcade.baselines import replay
from popgym_arcade.baselines.algorithm import Metrics, Network, Shard, Task, check_counts, has_memory
from popgym_arcade.baselines.collect import Actors, episode_metrics, init_actors
from popgym_arcade.baselines.minibatches import burn_in_mask, gradient_steps, policy_churn, unroll
from popgym_arcade.baselines.q_learning import QLearning, q_of


class DQNLearner(NamedTuple):
    """The whole state of training, see `algorithm.Learner`."""

    params: Any
    target_params: Any
    """The parameters of the target network; () if there is none."""
    opt_state: Any
    actors: Actors
    replay: replay.Replay
    """The replay buffer; every leaf [slots, N, ...]."""
    updates: Int32[Array, ""]


class Places(NamedTuple):
    """Where the sequences of minibatches begin in the replay buffer."""

    slot: Int32[Array, "G B"]
    env: Int32[Array, "G B"]


@dataclasses.dataclass(frozen=True, kw_only=True)
class DQN(QLearning[DQNLearner]):
    """DQN and its hyperparameters. The network returns Q-values, float32[A].

    A minibatch is drawn uniformly: single steps, or, where the network has a memory, the sequences of `num_steps` in which
    they were played, as many of each environment, or of each group of environments, as of any other.
    """

    replay_size: int = 100_000
    """Steps that are kept, of all environments together; rounded down to whole updates."""
    target_interval: int = 10
    """The target network is copied from the network after so many updates; 0: there is none."""

    def __post_init__(self) -> None:
        """Check the hyperparameters."""
        super().__post_init__()
        check_counts(self, "replay_size")
        if self.replay_size < self.steps_per_update:
            least = f"the {self.steps_per_update} steps of an update"
            raise ValueError(f"replay_size must be at least {least}, got {self.replay_size}")
        checks.in_range("target_interval", self.target_interval, 0)

    def check(self, network: Network, shard: Shard) -> None:
        """Check that the hyperparameters fit the network and the devices."""
        super().check(network, shard)
        if not has_memory(network) and self.num_steps % self.minibatches and self.minibatches % self.num_steps:
            sizes = f"{self.num_steps} and {self.minibatches}"
            raise ValueError(f"one of num_steps and minibatches must be a multiple of the other, got {sizes}")

    @property
    def chunks(self) -> int:
        """Updates whose rollouts the replay buffer holds."""
        return self.replay_size // self.steps_per_update

    def init(self, params: Any, task: Task) -> DQNLearner:
        """Return where training starts."""
        actors = init_actors(task, params, self.num_envs)
        return DQNLearner(
            params=params,
            # Arrays of its own, so that an update can be given the learner for good.
            target_params=jax.tree.map(jnp.copy, params) if self.target_interval else (),
            opt_state=self.optimizer().init(params),
            actors=actors,
            replay=replay.empty(actors, self.chunks, self.num_steps),
            updates=jnp.int32(0),
        )

    def update(self, learner: DQNLearner, task: Task) -> tuple[DQNLearner, Metrics]:
        """Collect a rollout into the replay buffer, and take gradient steps on what is drawn from it."""
        # Collect: every environment is played on for `num_steps` steps, epsilon-greedily.
        network = task.network(learner.params)
        actors, rollout = self.play(network, task, learner.actors, learner.updates)
        buffer = replay.write(learner.replay, rollout, learner.actors.memory, learner.updates)
        length = self.num_steps if has_memory(network) else 1

        # Gradient steps: regression of Q-values towards one-step targets, in `epochs` times `minibatches` steps.
        def loss_fn(params: Any, places: Places) -> tuple[Float32[Array, ""], Metrics]:
            sample = replay.read_sequences(buffer, *places, length, learner.updates, self.num_steps)
            # Targets are constants: no gradient is traced through the network that values them.
            bootstrap_value = self._bootstrap_value(jax.lax.stop_gradient(params), learner.target_params, sample, task)
            target = sample.reward + self.gamma * jnp.where(sample.terminated, 0.0, bootstrap_value)
            q = q_of(unroll(task.network(params), sample.memory, sample.frames(0, -1)), sample.action)
            mask = burn_in_mask(self.burn_in, q)
            weight = sample.has_target * mask / jnp.mean(mask)
            loss = 0.5 * jnp.mean(weight * jnp.square(q - target))
            return loss, {"loss": loss, "q": jnp.mean(q)}

        places = self.draw(task, network, learner.updates)
        params, opt_state, metrics = gradient_steps(
            loss_fn, self.optimizer(), learner.params, learner.opt_state, places, task.shard
        )

        metrics |= policy_churn(self, task.network(params), learner.actors.memory, rollout, task.shard)

        # Target network.
        updates = learner.updates + 1
        target_params = learner.target_params
        if self.target_interval:
            is_due = updates % self.target_interval == 0
            target_params = jax.tree.map(lambda old, new: jnp.where(is_due, new, old), target_params, params)
        learner = DQNLearner(params, target_params, opt_state, actors, buffer, updates)
        return learner, metrics | episode_metrics(rollout, task.shard)

    def _bootstrap_value(self, params: Any, target_params: Any, sample: replay.Sample, task: Task) -> Float32[Array, "T B"]:
        """Return the best Q-value of the frame after each step."""
        network = task.network(target_params if self.target_interval else params)
        # Without memory the frame before says nothing about the next one's value: it need not be seen.
        first = 0 if has_memory(network) else 1
        q_values = unroll(network, sample.memory, sample.frames(first, None))
        return jnp.max(q_values, axis=-1)[1 - first :]

    def draw(self, task: Task, network: Network, updates: Int32[Array, ""]) -> Places:
        """Draw the sequences of each minibatch, uniformly among those in the replay buffer after an update."""
        # The sequences of an update, counted environment by environment, lie in rows; a minibatch draws once for each row.
        sequences = 1 if has_memory(network) else self.num_steps
        rows = task.shard.indices(self.num_envs * sequences // self.minibatches)
        key = task.minibatch_key(updates)
        filled = jnp.minimum(updates + 1, self.chunks) * sequences
        oldest = jnp.where(updates + 1 < self.chunks, 0, (updates + 1) % self.chunks) * sequences

        def one(step: Int32[Array, ""], row: Int32[Array, ""]) -> Places:
            key_env, key_slot = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, step), row))
            envs = max(1, self.minibatches // sequences)
            env = row * self.minibatches // sequences + jax.random.randint(key_env, (), 0, envs)
            number = oldest + jax.random.randint(key_slot, (), 0, filled)
            slot = number % (self.chunks * sequences) * (self.num_steps // sequences)
            return Places(slot, env - task.shard.indices(self.num_envs)[0])

        steps = jnp.arange(self.epochs * self.minibatches)
        return jax.vmap(lambda step: jax.vmap(lambda row: one(step, row))(rows))(steps)
