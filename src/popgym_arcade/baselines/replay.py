"""The replay buffer: recent rollouts in a ring, each frame once.

Time is cut into chunks, the rollouts of updates. Memories are kept once a chunk, from before its first step.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from popgym_arcade.baselines.collect import Actors, Rollout


class Replay(NamedTuple):
    """The ring; every leaf has leading axes slots (of `memory` chunks) and num_envs."""

    memory: Any
    obs: jax.Array
    """uint8[slots, num_envs, obs_size, obs_size, 3]"""
    last_action: jax.Array
    """int32."""
    start: jax.Array
    """bool."""
    action: jax.Array
    """int32."""
    reward: jax.Array
    """float32."""
    terminated: jax.Array
    """bool."""
    truncated: jax.Array
    """bool."""


class Frames(NamedTuple):
    """The inputs of a network; every leaf has leading axes time and batch."""

    obs: jax.Array
    last_action: jax.Array
    start: jax.Array


class Sample(NamedTuple):
    """Sequences; every leaf but `memory` has leading axes time and batch, time one longer in the first three."""

    memory: Any
    """Before the first frame; a leading axis batch."""
    obs: jax.Array
    last_action: jax.Array
    start: jax.Array
    action: jax.Array
    reward: jax.Array
    terminated: jax.Array
    has_target: jax.Array
    """Whether what followed a step is known, bool: it is not where the clock ended the episode, as its final frame was not
    drawn, or after the newest step; but where the rules ended it nothing followed."""

    def frames(self, first: int, last: int | None) -> Frames:
        """Return what a network is shown, of the frames from `first` up to `last`."""
        return Frames(self.obs[first:last], self.last_action[first:last], self.start[first:last])


def empty(actors: Actors, chunks: int, num_steps: int) -> Replay:
    """Return a ring of chunks of `num_steps` that holds nothing yet."""

    def zeros(like: jax.Array, slots: int) -> jax.Array:
        return jnp.zeros((slots, *like.shape), like.dtype)

    slots = chunks * num_steps
    return Replay(
        memory=jax.tree.map(lambda leaf: zeros(leaf, chunks), actors.memory),
        obs=zeros(actors.obs, slots),
        last_action=zeros(actors.last_action, slots),
        start=zeros(actors.start, slots),
        action=zeros(actors.last_action, slots),
        reward=zeros(actors.episode_return, slots),
        terminated=zeros(actors.start, slots),
        truncated=zeros(actors.start, slots),
    )


def write(replay: Replay, rollout: Rollout, memory: Any, updates: jax.Array) -> Replay:
    """Put the rollout of an update, counted from 0, in the place of the oldest.

    Args:
        replay: the ring.
        rollout: goes into it.
        memory: the memories before its first step; every leaf with a leading axis num_envs.
        updates: the number of the update.
    """
    num_steps = len(rollout.start)
    slot = num_steps * (updates % (len(replay.start) // num_steps))

    def put(ring: jax.Array, news: jax.Array, place: jax.Array) -> jax.Array:
        return jax.lax.dynamic_update_slice_in_dim(ring, news, place, 0)

    memory = jax.tree.map(lambda ring, news: put(ring, news[None], slot // num_steps), replay.memory, memory)
    fields = {name: put(getattr(replay, name), getattr(rollout, name), slot) for name in Replay._fields[1:]}
    return Replay(memory=memory, **fields)


def read(replay: Replay, slot: jax.Array, env: jax.Array, length: int, updates: jax.Array, num_steps: int) -> Sample:
    """Read sequences.

    Args:
        replay: the ring.
        slot: where the sequences begin, int32[batch]; if there are memories, the first one of a chunk.
        env: the environments that they are of, int32[batch].
        length: how many steps they have.
        updates: the newest update that has been written.
        num_steps: the length of a chunk.
    """
    slots = len(replay.start)
    time = (slot + jnp.arange(length + 1)[:, None]) % slots
    newest = (num_steps * (updates + 1) - 1) % slots
    terminated, truncated = replay.terminated[time[:-1], env], replay.truncated[time[:-1], env]
    return Sample(
        memory=jax.tree.map(lambda leaf: leaf[slot // num_steps, env], replay.memory),
        obs=replay.obs[time, env],
        last_action=replay.last_action[time, env],
        start=replay.start[time, env],
        action=replay.action[time[:-1], env],
        reward=replay.reward[time[:-1], env],
        terminated=terminated,
        has_target=terminated | ~(truncated | (time[:-1] == newest)),
    )
