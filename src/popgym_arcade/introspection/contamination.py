"""Contamination: how far, and for how long, one changed frame or a shuffled start of an episode moves later decisions.

The recorded frames and ACTIONS are replayed, so that nothing differs but what was changed; of the frames, not of the
actions. What is compared is A(s, a) = Q(s, a) - mean Q(s, .), of policies log pi(a | s) less its mean.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Float64, Int

from popgym_arcade.baselines.model.builder import MemoryNetwork
from popgym_arcade.introspection.density import Spread, spread
from popgym_arcade.introspection.episode import Progress, Recording, advantage, replay, silent, unit
from popgym_arcade.introspection.subject import Subject
from popgym_arcade.tables import Table


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
    model: MemoryNetwork,
    episode: Recording,
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
    model: MemoryNetwork,
    episode: Recording,
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


class Effect(NamedTuple):
    """The effect of one kind of change, over episodes; lags are those that every episode has."""

    moved: Spread
    """How far A moves, in units of its mean size, after so many steps, float64[lags] each."""
    flipped: Spread
    """How often another action is chosen, after so many steps, float64[lags] each."""
    lasts: float
    """The mean number of steps up to the last decision that is flipped."""


class ContaminationStudy(NamedTuple):
    """The effect of changed frames on later decisions."""

    first: Contamination
    """Noise in each frame of the first episode, the strongest of those that were asked for."""
    effects: dict[str, Effect]
    """By the kind of change: "noise in one frame", or several with their sigma, and, where an episode is long enough,
    "first frames shuffled"."""
    table: Table
    """A row for each episode, change and later decision."""
    remarks: tuple[str, ...]
    """Episodes that ended early, and prefixes that do not fit into them."""


def measure(
    agent: Subject,
    *,
    num_steps: int = 50,
    episodes: int = 4,
    sigmas: Sequence[float] = (1.0,),
    draws: int = 4,
    prefixes: Sequence[int] | None = None,
    episode_seed: int = 0,
    chunk: int = 8,
    progress: Progress = silent,
) -> ContaminationStudy:
    """Put noise into single frames of episodes, shuffle their first frames, and compare later decisions.

    Args:
        agent: who plays.
        num_steps: the length of episodes that do not end earlier.
        episodes: how many.
        sigmas: standard deviations of the noise on the scale [0, 1] of frames, one or several strengths.
        draws: how often each change is drawn.
        prefixes: how many of the first frames are shuffled; by default a quarter and a half of each episode.
        episode_seed: the seed of the episodes, of the noise and of the orders.
        chunk: how many frames, and how many replays, are worked on at once.
        progress: told how far it is.

    Raises:
        ValueError: if there is no sigma.
    """
    if not sigmas:
        raise ValueError("there must be at least one sigma")
    random = np.random.default_rng(episode_seed)
    names = {sigma: f"noise in one frame{f', sigma {sigma:g}' if len(set(sigmas)) > 1 else ''}" for sigma in sigmas}
    found: dict[str, list[Contamination]] = {}
    rows, remarks = [], []
    for number in range(episodes):
        episode = agent.record(episode_seed, num_steps, number)
        length = len(episode)
        remarks += [f"number {number}: {remark}" for remark in episode.remarks]
        asked = (length // 4, length // 2) if prefixes is None else prefixes
        fitting = sorted({prefix for prefix in asked if 2 <= prefix < length})
        for prefix in sorted(set(prefixes or ()) - set(fitting)):
            remarks.append(f"episode {number} has {length} frames: no prefix of {prefix} is shuffled in it")
        told = _prefixed(progress, f"episode {number + 1} of {episodes}, ")
        changes = {
            name: noise(agent.model, episode, random, sigma=sigma, draws=draws, chunk=chunk, progress=told)
            for sigma, name in names.items()
        }
        if fitting:
            orders = shuffled(agent.model, episode, fitting, random, draws=draws, chunk=chunk, progress=told)
            changes["first frames shuffled"] = orders
        for name, change in changes.items():
            found.setdefault(name, []).append(change)
            rows += [
                (number, name, first, decision, moved, change.unit, flipped, lasts)
                for first, lasts, *curves in zip(change.first, change.lasts, change.moved, change.flipped, strict=True)
                for decision, (moved, flipped) in enumerate(zip(*curves, strict=True))
                if decision >= first
            ]
    header = ("episode", "change", "first", "decision", "moved", "mean_advantage", "flipped", "steps_to_last_flip")
    effects = {name: _effect(changes) for name, changes in found.items()}
    return ContaminationStudy(found[names[max(sigmas)]][0], effects, Table(header, rows), tuple(remarks))


def _effect(changes: Sequence[Contamination]) -> Effect:
    lagged = [by_lag(change) for change in changes]
    length = min(int((~np.isnan(moved)).sum()) for moved, _ in lagged)
    moved, flipped = (spread([np.stack([curves[i][:length] for curves in lagged])]) for i in (0, 1))
    return Effect(moved, flipped, float(np.mean(np.concatenate([change.lasts for change in changes]))))
