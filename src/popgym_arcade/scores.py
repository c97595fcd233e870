"""A scale for returns that says how much of a perfect memory an agent has.

Its marks are the returns of the reference players (see `popgym_arcade.players`), measured over many episodes and kept in
`players/returns.json`. Aggregates over games follow R. Agarwal et al., "Deep Reinforcement Learning at the Edge of the
Statistical Precipice", 2021.
"""

import functools
import json
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from popgym_arcade import checks
from popgym_arcade.environment import view_name

RETURNS = pathlib.Path(__file__).parent / "players" / "returns.json"
PLAYERS = ("random", "blind", "memoryless", "memory", "expert")
"""The reference players. "memory" is shown the POMDP; "best", who is shown the MDP, is the same player."""


class Reference(NamedTuple):
    """The undiscounted returns of a reference player."""

    mean: float
    """The mean return."""
    low: float
    high: float
    """The ends of its 95 % interval."""
    lowest: float
    highest: float
    """The least and the greatest return of an episode."""
    mean_length: float
    """Steps of an episode."""
    episodes: int
    """The number of episodes."""


class Aggregate(NamedTuple):
    """A statistic over games, with its 95 % interval, nan if no game has several seeds: nothing is known of it then."""

    value: float
    low: float
    high: float


@functools.cache
def _returns() -> dict[str, Any]:
    return json.loads(RETURNS.read_bytes())


def known() -> tuple[str, ...]:
    """Return the games of which there are reference returns: all of this package, with their difficulties."""
    return tuple(_returns())


def references(env_id: str) -> dict[str, Reference]:
    """Return what the reference players reach in a game, by their names: those of `PLAYERS`, and "best".

    Raises:
        LookupError: if there are none, as the game is not of this package.
    """
    if env_id not in known():
        closest = checks.closest(env_id, known())
        raise LookupError(f"there are no reference returns of {env_id!r}, only of this package's games, such as {closest}")
    return {name: Reference(**found) for name, found in _returns()[env_id]["players"].items()}


def version(env_id: str) -> int:
    """Return the version of the rules under which the reference returns of a game were measured.

    Raises:
        LookupError: if there are none.
    """
    references(env_id)
    return _returns()[env_id]["version"]


def scale(env_id: str, *, partial_obs: bool) -> tuple[float, float]:
    """Return the mean returns whose memory scores are 0 and 1.

    In the POMDP they are the better of the memoryless and the blind player, and the memory player. In the MDP, where the
    present frame is enough, they are the random player and the memory player shown the MDP.

    Raises:
        LookupError: if there are no reference returns of the game.
    """
    found = references(env_id)
    if partial_obs:
        return max(found["memoryless"].mean, found["blind"].mean), found["memory"].mean
    return found["random"].mean, found["best"].mean


def memory_score(env_id: str, returns: ArrayLike, *, partial_obs: bool) -> np.ndarray:
    """Convert returns to memory scores: 0 for what needs no memory, 1 for a perfect memory. They are not clipped.

    Args:
        env_id: a game of this package, with its difficulty.
        returns: undiscounted, of any shape: of episodes, or means.
        partial_obs: the view in which they were had; see `scale`.

    Returns:
        float64 of the same shape.

    Raises:
        LookupError: if there are no reference returns of the game.
    """
    zero, one = scale(env_id, partial_obs=partial_obs)
    return (np.asarray(returns, np.float64) - zero) / (one - zero)


def interquartile_mean(scores: Sequence[ArrayLike], *, resamples: int = 2_000, seed: int = 0) -> Aggregate:
    """Return the mean of the middle half of all scores, over games and seeds, with a stratified bootstrap interval.

    Args:
        scores: for each game the scores of its seeds, [seeds]; games may have different numbers of them.
        resamples: in each, the seeds of every game are drawn anew, with replacement.
        seed: of those draws.

    Raises:
        ValueError: if there is no game, or one without a score.
    """
    from scipy import stats  # takes longer to import than all else here

    games = [np.asarray(each, np.float64).ravel() for each in scores]
    if not games or not all(len(each) for each in games):
        raise ValueError("an interquartile mean needs at least one score of each of at least one game")
    value = float(stats.trim_mean(np.concatenate(games), 0.25))
    if all(len(each) == 1 for each in games):
        return Aggregate(value, np.nan, np.nan)
    rng = np.random.default_rng(seed)
    drawn = np.concatenate([rng.choice(each, (resamples, len(each))) for each in games], axis=1)
    low, high = np.quantile(stats.trim_mean(drawn, 0.25, axis=1), [0.025, 0.975])
    return Aggregate(value, float(low), float(high))


def told(env_id: str, value: float, *, partial_obs: bool) -> str:
    """Write the memory score of a mean return with two digits, or nothing for a game without reference returns."""
    return f"{memory_score(env_id, value, partial_obs=partial_obs):.2f}" if env_id in known() else ""


def aggregates(returns: Mapping[tuple[str, bool, str], Sequence[float]]) -> dict[tuple[bool, str], Aggregate]:
    """Return interquartile means of memory scores over games and seeds, for each view and agent.

    Args:
        returns: mean returns of seeds by (environment, whether it is the POMDP, name of the agent). Games without reference
            returns are left out.

    Returns:
        by (whether it is the POMDP, name of the agent); see `interquartile_mean`.
    """
    groups: dict[tuple[bool, str], list[np.ndarray]] = {}
    for (env_id, partial_obs, agent), means in returns.items():
        if env_id in known() and len(means):
            groups.setdefault((partial_obs, agent), []).append(memory_score(env_id, means, partial_obs=partial_obs))
    return {group: interquartile_mean(found) for group, found in groups.items()}


def aggregate_lines(returns: Mapping[tuple[str, bool, str], Sequence[float]]) -> list[str]:
    """Write `aggregates`, a line each."""
    return [
        f"memory score of {agent} over games, {view_name(partial_obs)}: {found.value:.2f}, "
        f"{'one seed of each' if np.isnan(found.low) else f'95 % interval {found.low:.2f} to {found.high:.2f}'} "
        "(interquartile mean)"
        for (partial_obs, agent), found in aggregates(returns).items()
    ]
