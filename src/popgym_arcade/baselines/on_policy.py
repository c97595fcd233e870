"""What PQN and PPO share: make targets of a rollout, and learn from it in shuffled minibatches."""

import abc
import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade.baselines.algorithm import Algorithm, Learner, Metrics, Share, has_memory
from popgym_arcade.baselines.collect import Rollout

Batch = tuple[Rollout, Any, jax.Array]
"""Part of a rollout, its targets, and a weight: zero where a memory is warmed up, one elsewhere."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class OnPolicy(Algorithm):
    """An algorithm that learns from what its players have just done.

    The minibatches of an epoch share the environments or, where the network has no memory, the frames. These lie in rows
    as long as there are minibatches, and each row is shuffled, and dealt out, by itself: so a minibatch has as much of
    every time and every environment as any other, and devices need not exchange frames.
    """

    decay: float = 0.95
    """Lambda, of returns and advantages."""

    def __post_init__(self) -> None:
        """Check the settings."""
        super().__post_init__()
        if not 0 <= self.decay <= 1:
            raise ValueError(f"decay must be from 0 to 1, got {self.decay}")

    @abc.abstractmethod
    def targets(self, rollout: Rollout) -> Any:
        """Return what is learned towards; every leaf with leading axes num_steps and num_envs."""

    def adapt_targets(self, targets: Any, weight: jax.Array, share: Share) -> Any:
        """Return the targets of a minibatch as its loss wants them."""
        return targets

    @abc.abstractmethod
    def batch_loss(self, output: Any, batch: Rollout, targets: Any, weight: jax.Array) -> tuple[jax.Array, Metrics]:
        """Return the loss and its parts; all arguments with two leading axes, over which `weight` is one or zero."""

    def remember(self, learner: Learner, rollout: Rollout) -> tuple[tuple[()], tuple[Rollout, Any]]:
        """Keep nothing, and learn from the rollout."""
        return (), (rollout, self.targets(rollout))

    def choose(self, key: jax.Array, network: Any, updates: jax.Array, share: Share) -> jax.Array:
        """Shuffle the rows, anew in each epoch: int32[epochs * minibatches, part of the sequences]."""
        sequences = self.num_envs if has_memory(network) else self.steps_per_update
        rows = share.numbers(sequences // self.minibatches)

        def order(epoch: jax.Array, row: jax.Array) -> jax.Array:
            key_row = jax.random.fold_in(jax.random.fold_in(key, epoch), row)
            return jax.random.permutation(key_row, self.minibatches)

        orders = jax.vmap(lambda epoch: jax.vmap(lambda row: order(epoch, row))(rows))(jnp.arange(self.epochs))
        chosen = orders + self.minibatches * jnp.arange(len(rows))[:, None]
        return chosen.swapaxes(1, 2).reshape(self.epochs * self.minibatches, -1)

    def minibatch(self, network: Any, tape: tuple[Rollout, Any], chosen: jax.Array, share: Share) -> Batch:
        """Gather the chosen sequences."""
        memory = tape[0].memory
        rollout = tape[0]._replace(memory=None)
        steps = len(rollout.start)
        if has_memory(network):
            batch, targets = jax.tree.map(lambda leaf: leaf[:, chosen], (rollout, tape[1]))
            memory = jax.tree.map(lambda leaf: leaf[chosen], memory)
            warm = np.arange(steps) >= self.burn_in
        else:  # every frame is a sequence of its own; they are counted environment by environment
            env, time = jnp.divmod(chosen, steps)
            batch, targets = jax.tree.map(lambda leaf: leaf[time, env][None], (rollout, tape[1]))
            warm = np.ones(1, bool)
        weight = jnp.broadcast_to(warm.astype(np.float32)[:, None], batch.start.shape)
        return batch._replace(memory=memory), self.adapt_targets(targets, weight, share), weight

    def loss(self, network: Any, batch: Batch) -> tuple[jax.Array, Metrics]:
        """Answer the minibatch, and compare."""
        rollout, targets, weight = batch
        run = jax.vmap(network, in_axes=(0, 1, 1, 1), out_axes=(0, 1))
        _, output = run(rollout.memory, rollout.obs, rollout.last_action, rollout.start)
        return self.batch_loss(output, rollout, targets, weight)
