"""Episodes to look into: played greedily and recorded, and replayed with frames that were changed."""

import dataclasses
from collections.abc import Callable, Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float, Float32, Int, Int32, PRNGKeyArray, Shaped, UInt8

from popgym_arcade import checks
from popgym_arcade.baselines.arrays import Frames
from popgym_arcade.baselines.collect import action_scores, start_episodes
from popgym_arcade.baselines.evaluation import greedy_step
from popgym_arcade.baselines.model.builder import MemoryNetwork
from popgym_arcade.environment import Environment

Pool = UInt8[np.ndarray, "p S S 3"] | Float32[np.ndarray, "p S S 3"]
"""Frames to choose from: pixels in 0..255, or in [0, 1] or beyond."""
Progress = Callable[[str], None]
"""Told, again and again, how far the work is, in words."""


def silent(message: str) -> None:
    """Show no progress."""


@dataclasses.dataclass(frozen=True)
class Recording:
    """A recorded episode of n steps; decision i is the one taken at frame i."""

    frames: UInt8[np.ndarray, "n S S 3"]
    last_action: Int32[np.ndarray, "n"]
    """The action that led to a frame; means nothing where `start`."""
    start: Bool[np.ndarray, "n"]
    """Whether a frame begins an episode: nothing is remembered from before it."""
    action: Int32[np.ndarray, "n"]
    reward: Float32[np.ndarray, "n"]
    rating: Float32[np.ndarray, "n A"]
    """The Q-values, or the logits of a policy."""
    is_policy: bool
    """Whether these are logits."""
    asked: int | None
    """The number of steps asked for; None, if it was to be played to its end."""
    ended: bool
    """Whether the game ended it; if not, it was cut off after the steps that were asked for."""

    def __len__(self) -> int:
        return len(self.frames)

    @property
    def ended_early(self) -> bool:
        """Whether it ended before the steps that were asked for."""
        return self.asked is not None and len(self) < self.asked

    @property
    def remarks(self) -> tuple[str, ...]:
        """Whether it ended early, in words."""
        return (f"the episode ended after {len(self)} of {self.asked} steps",) if self.ended_early else ()

    @property
    def values(self) -> Float32[np.ndarray, "n A"]:
        """Q values, or the probabilities of a policy: float32[n, A]."""
        return np.asarray(jax.nn.softmax(self.rating)) if self.is_policy else self.rating


def value(output: Any) -> Float32[Array, "... A"]:
    """Return the outputs that are differentiated: Q-values, or the probabilities of a policy, float32[..., A]."""
    return jax.nn.softmax(output[0]) if isinstance(output, tuple) else output


def advantage(rating: Float[np.ndarray, "*shape A"]) -> Float[np.ndarray, "*shape A"]:
    """A(s, a) = Q(s, a) - mean Q(s, .), or log pi(a | s) less its mean (logits do for it): float[*shape, A]."""
    return rating - rating.mean(-1, keepdims=True)


def record(
    model: MemoryNetwork, env: Environment[Any, Any], key: PRNGKeyArray, num_steps: int | None = None, number: int = 0
) -> Recording:
    """Play an episode, always taking the action that is rated best.

    Args:
        model: the agent.
        env: the game, in the view to play in.
        key: one JAX random key.
        num_steps: how many steps; if left out, to the end. An episode may end earlier, see `Recording.ended_early`.
        number: which of the episodes that `baselines.evaluate` plays with this key.

    Raises:
        TypeError: if `num_steps` is not an int.
        ValueError: if it is below 1.
    """
    if num_steps is not None:
        checks.integer("num_steps", num_steps, 1)
    key_start, key_play = jax.random.split(jax.random.fold_in(key, number))
    actors = start_episodes(model, env, env.default_params, key_start[None])
    steps: list[Any] = []
    done = False
    while not done and (num_steps is None or len(steps) < num_steps):
        seen = (actors.obs, actors.last_action, actors.start)
        actors, step = greedy_step(model, env, actors, jax.random.fold_in(key_play, len(steps)))
        steps.append(jax.device_get((*seen, step.action, step.reward, action_scores(step.output))))
        done = bool(actors.start[0])
    frames, last_actions, starts, actions, rewards, ratings = (np.concatenate(parts) for parts in zip(*steps, strict=True))
    return Recording(frames, last_actions, starts, actions, rewards, ratings, _is_policy(model), num_steps, done)


def _is_policy(model: MemoryNetwork) -> bool:
    frames = jax.ShapeDtypeStruct((1, model.obs_size, model.obs_size, 3), jnp.uint8)
    seen = (frames, jax.ShapeDtypeStruct((1,), jnp.int32), jax.ShapeDtypeStruct((1,), jnp.bool_))
    return isinstance(jax.eval_shape(lambda *seen: model(model.initial_state(), *seen)[1], *seen), tuple)


def replay(
    model: MemoryNetwork,
    episode: Recording,
    frames: Pool,
    picks: Int[np.ndarray, "r n"],
    *,
    chunk: int = 8,
    progress: Progress = silent,
) -> Float32[np.ndarray, "r n A"]:
    """Show an agent an episode again, with other frames, and with the ACTIONS that were recorded.

    Each frame is looked at once, however many replays show it.

    Args:
        model: the agent.
        episode: gives the actions and the starts, for n steps.
        frames: what may be shown, uint8[p, S, S, 3]; or float32 of that shape, in [0, 1] or beyond.
        picks: which of the frames stands where in each replay, int[r, n] in 0..p - 1.
        chunk: how many frames, and how many replays, are worked on at once.
        progress: told how far it is.

    Returns:
        Q values or logits, float32[r, n, A].

    Raises:
        ValueError: if the shapes do not fit, or a pick is out of range.
    """
    checked_chunk(chunk)
    if picks.ndim != 2 or picks.shape[1] != len(episode):
        raise ValueError(f"picks must have the shape [replays, {len(episode)}], got {list(picks.shape)}")
    if picks.size and not 0 <= picks.min() <= picks.max() < len(frames):
        raise ValueError(f"picks must be in 0..{len(frames) - 1}, got {picks.min()}..{picks.max()}")
    features = encode(model, frames, chunk)
    last_action, start = padded(episode.last_action), padded(episode.start)
    ratings = []
    for rows in chunks(len(picks), chunk):
        progress(f"replay {rows[-1] + 1} of {len(picks)}")
        chosen = np.stack([padded(picks[row]) for row in rows])
        ratings.append(np.asarray(_replay(model, features, chosen, last_action, start)))
    return np.concatenate(ratings)[: len(picks), : len(episode)]


@jax.jit
def _replay(
    model: MemoryNetwork,
    features: Float32[Array, "p F"],
    picks: Int[Array, "r n"],
    last_action: Int32[Array, "n"],
    start: Bool[Array, "n"],
) -> Float32[Array, "r n A"]:
    def one(picks: Int[Array, "n"]) -> Float32[Array, "n A"]:
        return action_scores(model.remember(model.initial_state(), features[picks], last_action, start)[1])

    return jax.vmap(one)(picks)


def encode(model: MemoryNetwork, frames: Pool, chunk: int) -> Float32[np.ndarray, "p F"]:
    """Let the encoder see frames, uint8 or float32 [p, S, S, 3], some at a time: float32[p, F]."""
    parts = [np.asarray(_encode(model, frames[rows])) for rows in chunks(len(frames), chunk)]
    return np.concatenate(parts)[: len(frames)]


@jax.jit
def _encode(model: MemoryNetwork, frames: Frames) -> Float32[Array, "T F"]:
    return model.encoder(frames)


def unit(frames: UInt8[np.ndarray, "*shape"]) -> Float32[np.ndarray, "*shape"]:
    """Scale uint8 to float32 in [0, 1], as the encoders do."""
    return frames.astype(np.float32) / np.float32(255)


def chunks(length: int, chunk: int) -> Iterator[Int[np.ndarray, "{chunk}"]]:
    """Cut 0..length - 1 into parts of one size; the last one repeats its last number to be as long."""
    for first in range(0, length, chunk):
        yield np.minimum(np.arange(first, first + chunk), length - 1)


def padded(array: Shaped[np.ndarray, "n *shape"]) -> Shaped[np.ndarray, "_ *shape"]:
    """Lengthen the first axis with zeros to a power of two: what is compiled then serves episodes of many lengths.

    What comes later makes no difference to the answers before it.
    """
    missing = max(16, 1 << (len(array) - 1).bit_length()) - len(array)
    return np.concatenate([array, np.zeros((missing, *array.shape[1:]), array.dtype)])


def checked_chunk(chunk: Any) -> int:
    """Return how much is worked on at once, or raise if it is no int of at least 1."""
    return checks.integer("chunk", chunk, 1)
