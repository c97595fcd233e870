"""Contamination: how far, and for how long, one changed frame or a shuffled start of an episode moves later decisions.

The recorded frames and ACTIONS are replayed, so that nothing differs but what was changed; of the frames, not of the
actions. What is compared is A(s, a) = Q(s, a) - mean Q(s, .), of policies log pi(a | s) less its mean.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int

from popgym_arcade.baselines.model.builder import Network
from popgym_arcade.introspection.episode import Episode, Progress, advantage, replay, silent, unit


class Contamination(NamedTuple):
    """The effect of r changes on the n decisions of an episode; zero, where a decision comes before the change."""

    first: Int[np.ndarray, "r"]
    """The first decision that a change can reach."""
    moved: Float64[np.ndarray, "r n"]
    """The distance that A moves: the mean over actions of |A' - A|, averaged over draws."""
    flipped: Float64[np.ndarray, "r n"]
    """The share of draws in which another action is chosen."""
    lasts: Float64[np.ndarray, "r"]
    """The duration of the effect: the steps from `first` up to and including the last decision that is flipped,
    0 where none is; averaged over draws."""
    unit: float
    """The scale to compare `moved` with: the mean over the episode's decisions and actions of |A|."""


def noise(
    model: Network,
    episode: Episode,
    random: np.random.Generator,
    *,
    sigma: float = 1.0,
    draws: int = 4,
    chunk: int = 8,
    progress: Progress = silent,
) -> Contamination:
    """Add normal noise to one frame, each of the n in turn.

    Args:
        model: the agent.
        episode: n steps of it.
        random: where the noise comes from.
        sigma: its standard deviation on the scale [0, 1] of frames. The sum is not clipped: the noise is what it is called.
        draws: how many times each frame is changed, each time with other noise.
        chunk: how many frames, and how many replays, are worked on at once.
        progress: told how far it is.

    Returns:
        the effect of a change of frame t in row t.
    """
    length = len(episode)
    clean = unit(episode.frames)
    picks = np.where(np.eye(length, dtype=bool), length + np.arange(length), np.arange(length))
    ratings = []
    for draw in range(draws):
        noisy = clean + random.normal(0, sigma, clean.shape).astype(np.float32)
        pool, rows = np.concatenate([clean, noisy]), np.concatenate([np.arange(length)[None], picks])
        told = _prefixed(progress, f"noise {draw + 1} of {draws}, ")
        ratings.append(replay(model, episode, pool, rows, chunk=chunk, progress=told))
    return _compared(ratings, np.arange(length))


def shuffled(
    model: Network,
    episode: Episode,
    prefixes: Sequence[int],
    random: np.random.Generator,
    *,
    draws: int = 4,
    chunk: int = 8,
    progress: Progress = silent,
) -> Contamination:
    """Shuffle the first k frames, each time into another order.

    Args:
        model: the agent.
        episode: n steps of it.
        prefixes: the numbers k, each from 2 to n - 1.
        random: where the orders come from.
        draws: how many orders there are for each k.
        chunk: how many frames, and how many replays, are worked on at once.
        progress: told how far it is.

    Returns:
        the effect at decisions from k on, which come after the frames that were shuffled, in a row for each k; earlier ones
        are zero.

    Raises:
        ValueError: if a k is not from 2 to n - 1.
    """
    length = len(episode)
    for prefix in prefixes:
        if not 2 <= prefix < length:
            raise ValueError(f"prefixes must be from 2 to {length - 1}, as the episode has {length} frames, got {prefix}")
    ratings = []
    for draw in range(draws):
        picks = np.tile(np.arange(length), (1 + len(prefixes), 1))
        for row, prefix in enumerate(prefixes, 1):
            while np.array_equal(picks[row], picks[0]):
                picks[row, :prefix] = random.permutation(prefix)
        told = _prefixed(progress, f"order {draw + 1} of {draws}, ")
        ratings.append(replay(model, episode, unit(episode.frames), picks, chunk=chunk, progress=told))
    return _compared(ratings, np.asarray(prefixes))


def _compared(ratings: list[Float32[np.ndarray, "_ n A"]], first: Int[np.ndarray, "r"]) -> Contamination:
    """Compare the 1 + r replays of each draw with the first one, in which nothing was changed."""
    advantages = advantage(np.stack(ratings).astype(np.float64))
    original, changed = advantages[:, :1], advantages[:, 1:]
    reached = np.arange(advantages.shape[2]) >= first[:, None]
    moved = np.abs(changed - original).mean(-1) * reached
    flipped = (changed.argmax(-1) != original.argmax(-1)) & reached
    last = flipped.shape[-1] - flipped[..., ::-1].argmax(-1)
    lasts = np.where(flipped.any(-1), last - first, 0)
    return Contamination(first, moved.mean(0), flipped.mean(0), lasts.mean(0), float(np.abs(original).mean()))


def _prefixed(progress: Progress, words: str) -> Progress:
    return lambda message: progress(words + message)


def by_lag(changes: Contamination) -> tuple[Float64[np.ndarray, "n"], Float64[np.ndarray, "n"]]:
    """Average over changes: how far A moves, in units of `unit`, and how often decisions are flipped, after so many steps.

    Returns:
        (moved float64[n], flipped float64[n]), at lag 0 the decision `first`; NaN where no change has a decision that late.
    """
    length = changes.moved.shape[1]
    found = np.full((2, len(changes.first), length), np.nan)
    for row, first in enumerate(changes.first):
        found[0, row, : length - first] = changes.moved[row, first:] / (changes.unit or 1.0)
        found[1, row, : length - first] = changes.flipped[row, first:]
    known = ~np.isnan(found)
    count = known.sum(1)
    moved, flipped = np.where(count > 0, np.where(known, found, 0).sum(1) / np.maximum(count, 1), np.nan)
    return moved, flipped
