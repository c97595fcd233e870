"""The replay buffer: recent rollouts in a ring, each frame once.

Time is cut into chunks, the rollouts of updates. Memories are kept once a chunk, from before its first step.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float32, Int32, PyTree, Shaped, UInt8

from popgym_arcade.baselines.collect import Actors, Rollout


class Replay(NamedTuple):
    """The ring: a slot for each step of an environment."""

    memory: PyTree[Shaped[Array, "chunks N ..."]]
    obs: UInt8[Array, "slots N S S 3"]
    last_action: Int32[Array, "slots N"]
    start: Bool[Array, "slots N"]
    action: Int32[Array, "slots N"]
    reward: Float32[Array, "slots N"]
    terminated: Bool[Array, "slots N"]
    truncated: Bool[Array, "slots N"]


class Frames(NamedTuple):
    """The inputs of a network."""

    obs: UInt8[Array, "T B S S 3"]
    last_action: Int32[Array, "T B"]
    start: Bool[Array, "T B"]


class Sample(NamedTuple):
    """Sequences of T steps, with the frame after the last one."""

    memory: PyTree[Shaped[Array, "B ..."]]
    """Before the first frame."""
    obs: UInt8[Array, "T+1 B S S 3"]
    last_action: Int32[Array, "T+1 B"]
    start: Bool[Array, "T+1 B"]
    action: Int32[Array, "T B"]
    reward: Float32[Array, "T B"]
    terminated: Bool[Array, "T B"]
    has_target: Bool[Array, "T B"]
    """Whether what followed a step is known: it is not where the clock ended the episode, as its final frame was not
    drawn, or after the newest step; but where the rules ended it nothing followed."""

    def frames(self, first: int, last: int | None) -> Frames:
        """Return what a network is shown, of the frames from `first` up to `last`."""
        return Frames(self.obs[first:last], self.last_action[first:last], self.start[first:last])


def empty(actors: Actors, chunks: int, num_steps: int) -> Replay:
    """Return a ring of chunks of `num_steps` that holds nothing yet."""

    def zeros(like: Shaped[Array, "N ..."], slots: int) -> Shaped[Array, "{slots} N ..."]:
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


def write(replay: Replay, rollout: Rollout, memory: PyTree[Shaped[Array, "N ..."]], updates: Int32[Array, ""]) -> Replay:
    """Put the rollout of an update, counted from 0, in the place of the oldest.

    Args:
        replay: the ring.
        rollout: goes into it.
        memory: the memories before its first step; every leaf [N, ...].
        updates: the number of the update, int32[].
    """
    num_steps = len(rollout.start)
    slot = num_steps * (updates % (len(replay.start) // num_steps))

    def put(
        ring: Shaped[Array, "ring N ..."], news: Shaped[Array, "_ N ..."], place: Int32[Array, ""]
    ) -> Shaped[Array, "ring N ..."]:
        return jax.lax.dynamic_update_slice_in_dim(ring, news, place, 0)

    memory = jax.tree.map(lambda ring, news: put(ring, news[None], slot // num_steps), replay.memory, memory)
    fields = {name: put(getattr(replay, name), getattr(rollout, name), slot) for name in Replay._fields[1:]}
    return Replay(memory=memory, **fields)


def read_sequences(
    replay: Replay,
    slot: Int32[Array, "B"],
    env: Int32[Array, "B"],
    length: int,
    updates: Int32[Array, ""],
    num_steps: int,
) -> Sample:
    """Read sequences.

    Args:
        replay: the ring.
        slot: where the sequences begin, int32[B]; if there are memories, the first one of a chunk.
        env: the environments that they are of, int32[B].
        length: how many steps they have.
        updates: the newest update that has been written, int32[].
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
