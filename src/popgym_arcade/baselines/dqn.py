"""DQN: Q-learning from a replay, with a target network.

Sources: Mnih et al. 2015, "Human-level control through deep reinforcement learning"; with memory Kapturowski et al. 2019,
"Recurrent Experience Replay in Distributed Reinforcement Learning": stored memories, and a burn-in that refreshes them.
"""

import dataclasses
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp

from popgym_arcade.baselines import replay
from popgym_arcade.baselines.algorithm import Learner, Metrics, QLearning, Share, check_counts, has_memory
from popgym_arcade.baselines.collect import Actors, Rollout


class Tape(NamedTuple):
    """What an update learns from."""

    replay: replay.Replay
    target: Any
    """The weights of the target network; () if there is none."""
    updates: jax.Array


class Place(NamedTuple):
    """Where sequences lie in the replay, int32[batch] each."""

    slot: jax.Array
    env: jax.Array


class Batch(NamedTuple):
    """Sequences, and what is learned towards."""

    sample: replay.Sample
    targets: jax.Array
    """float32[time, batch]"""
    weight: jax.Array
    """Zero where a memory is warmed up or the target is not known, elsewhere a constant; float32[time, batch]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class DQN(QLearning):
    """The algorithm and its settings. The network's output is Q, float32[num_actions].

    A minibatch is drawn uniformly: single steps, or, where the network has a memory, the sequences of `num_steps` in which
    they were played, as many of each environment, or of each group of environments, as of any other.
    """

    burn_in: int = 4
    replay_size: int = 100_000
    """Steps that are kept, of all environments together; rounded down to whole updates."""
    target_interval: int = 10
    """The target network is a copy of the network, made anew after so many updates; 0: there is none."""

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        check_counts(self, "replay_size")
        if self.replay_size < self.steps_per_update:
            least = f"the {self.steps_per_update} steps of an update"
            raise ValueError(f"replay_size must be at least {least}, got {self.replay_size}")
        if self.target_interval < 0:
            raise ValueError(f"target_interval must not be negative, got {self.target_interval}")

    @property
    def chunks(self) -> int:
        """Updates that the replay holds."""
        return self.replay_size // self.steps_per_update

    def check(self, network: Any, share: Share) -> None:
        """See `Algorithm`."""
        super().check(network, share)
        if not has_memory(network) and self.num_steps % self.minibatches and self.minibatches % self.num_steps:
            sizes = f"{self.num_steps} and {self.minibatches}"
            raise ValueError(f"one of num_steps and minibatches must be a multiple of the other, got {sizes}")

    def first_target(self, weights: Any) -> Any:
        """A copy of the network, if there is to be one."""
        # Arrays of its own, so that an update can be given the learner for good.
        return jax.tree.map(jnp.copy, weights) if self.target_interval else ()

    def next_target(self, target: Any, weights: Any, updates: jax.Array) -> Any:
        """A copy of the network, every now and then."""
        if not self.target_interval:
            return ()
        is_due = updates % self.target_interval == 0
        return jax.tree.map(lambda old, new: jnp.where(is_due, new, old), target, weights)

    def empty_replay(self, actors: Actors) -> replay.Replay:
        """A ring of updates."""
        return replay.empty(actors, self.chunks, self.num_steps)

    def remember(self, learner: Learner, rollout: Rollout) -> tuple[replay.Replay, Tape]:
        """Keep the rollout, and learn from all that is kept."""
        ring = replay.write(learner.replay, rollout, learner.updates)
        return ring, Tape(ring, learner.target, learner.updates)

    def choose(self, key: jax.Array, network: Any, updates: jax.Array, share: Share) -> Place:
        """Draw places: int32[epochs * minibatches, part of a minibatch] each."""
        # The sequences of an update, counted environment by environment, lie in rows; a minibatch draws once for each row.
        sequences = 1 if has_memory(network) else self.num_steps
        rows = share.numbers(self.num_envs * sequences // self.minibatches)
        filled = jnp.minimum(updates + 1, self.chunks) * sequences
        oldest = jnp.where(updates + 1 < self.chunks, 0, (updates + 1) % self.chunks) * sequences

        def draw(step: jax.Array, row: jax.Array) -> Place:
            key_env, key_slot = jax.random.split(jax.random.fold_in(jax.random.fold_in(key, step), row))
            envs = max(1, self.minibatches // sequences)
            env = row * self.minibatches // sequences + jax.random.randint(key_env, (), 0, envs)
            number = oldest + jax.random.randint(key_slot, (), 0, filled)
            slot = number % (self.chunks * sequences) * (self.num_steps // sequences)
            return Place(slot, env - share.numbers(self.num_envs)[0])

        steps = jnp.arange(self.epochs * self.minibatches)
        return jax.vmap(lambda step: jax.vmap(lambda row: draw(step, row))(rows))(steps)

    def minibatch(self, network: Any, tape: Tape, chosen: Place, share: Share) -> Batch:
        """Read the chosen sequences, and value what they led to."""
        memory = has_memory(network)
        length = self.num_steps if memory else 1
        sample = replay.read(tape.replay, *chosen, length, tape.updates, self.num_steps)
        if self.target_interval:
            network = eqx.combine(tape.target, network)
        # Without memory the frame before says nothing about the next one's value: it need not be seen.
        skipped = 0 if memory else 1
        frames = (sample.obs[skipped:], sample.last_action[skipped:], sample.start[skipped:])
        worth = jnp.max(_answer(network, sample.memory, *frames), axis=-1)[1 - skipped :]
        targets = sample.reward + self.discount * jnp.where(sample.terminated, 0.0, worth)
        is_warm = jnp.arange(length)[:, None] >= (self.burn_in if memory else 0)
        return Batch(sample, targets, (sample.counts & is_warm) / jnp.mean(is_warm, dtype=jnp.float32))

    def loss(self, network: Any, batch: Batch) -> tuple[jax.Array, Metrics]:
        """Half the squared distance of the Q of what was done from its target."""
        sample = batch.sample
        output = _answer(network, sample.memory, sample.obs[:-1], sample.last_action[:-1], sample.start[:-1])
        q = jnp.take_along_axis(output, sample.action[..., None], -1)[..., 0]
        loss = 0.5 * jnp.mean(batch.weight * jnp.square(q - batch.targets))
        return loss, {"loss": loss, "q": jnp.mean(q)}


def _answer(network: Any, memory: Any, obs: jax.Array, last_action: jax.Array, start: jax.Array) -> jax.Array:
    return jax.vmap(network, in_axes=(0, 1, 1, 1), out_axes=(0, 1))(memory, obs, last_action, start)[1]
