"""Estimates from returns of seeds and episodes, with 95 % intervals by a stratified bootstrap.

In each resample the seeds of every game are drawn anew with replacement, and of each seed drawn its episodes: so an interval
holds the chance in training and that in the episodes. Of one seed alone only the latter is known.
"""

from collections.abc import Callable, Iterable, Sequence

import numpy as np
from jaxtyping import Float, Float64

from popgym_arcade import scores
from popgym_arcade.environment import view_name
from popgym_arcade.results.reading import NONE, Result
from popgym_arcade.scores import Aggregate

RESAMPLES = 2000
Group = tuple[str, bool, str]
"""An environment, whether it is the POMDP, and the name of an agent."""
Seeds = Sequence[Float64[np.ndarray, "_"]]
"""Of each seed the returns of its episodes."""


def grouped(results: Iterable[Result], name: Callable[[Result], str]) -> dict[Group, list[Result]]:
    """Put the seeds of one environment, view and agent together; `name` names the agent of a result."""
    found: dict[Group, list[Result]] = {}
    for result in results:
        found.setdefault((result.env_id, result.partial_obs, name(result)), []).append(result)
    return found


def check_distinct(groups: dict[Group, list[Result]]) -> None:
    """Raise a ValueError if a seed is there twice, under one name of its agent; the error names in what settings."""
    for (env_id, partial_obs, agent), seeds in groups.items():
        known: dict[int, Result] = {}
        for seed in seeds:
            if twin := known.get(seed.seed):
                what = f"{env_id} ({view_name(partial_obs)}), memory {agent}, seed {seed.seed}"
                names = [name for name in seed.settings if seed.settings[name] != twin.settings.get(name)]
                differ = f", with another {', '.join(names)}" if names else ""
                raise ValueError(f"{what} is there twice: in {twin.path} and in {seed.path}{differ}")
            known[seed.seed] = seed


def namer(results: Sequence[Result], settings: Sequence[str] = ()) -> Callable[[Result], str]:
    """Return what names agents: by their memory, by the algorithm where there are several, and by some settings."""
    several = len({result.algorithm for result in results}) > 1

    def name(result: Result) -> str:
        told = [f"{result.algorithm} {result.memory}" if several else result.memory]
        return " ".join([*told, *(f"{setting}={result.settings.get(setting)}" for setting in settings)])

    return name


def resampled(seeds: Seeds, rng: np.random.Generator, resamples: int = RESAMPLES) -> Float64[np.ndarray, "{resamples}"]:
    """Return the mean over seeds of the mean over episodes, in each resample.

    Raises:
        ValueError: if there is no seed, or one without an episode.
    """
    if not len(seeds) or not all(len(episodes) for episodes in seeds):
        raise ValueError("there must be at least one episode of each of at least one seed")
    count = len(seeds)
    means = np.empty((resamples, count))
    drawn = rng.integers(0, count, (resamples, count))
    for number, episodes in enumerate(seeds):
        places = np.nonzero(drawn == number)
        picks = rng.integers(0, len(episodes), (len(places[0]), len(episodes)))
        means[places] = np.asarray(episodes, np.float64)[picks].mean(1)
    return means.mean(1)


def estimate(value: float, samples: Float64[np.ndarray, "_"]) -> Aggregate:
    """Return a value with the 95 % interval that resamples of it give."""
    low, high = np.quantile(samples, [0.025, 0.975])
    return Aggregate(value, float(low), float(high))


def mean_of(seeds: Seeds) -> float:
    """Return the mean over seeds of the mean over episodes."""
    return float(np.mean([np.mean(episodes) for episodes in seeds]))


def memory_scores(group: Group, seeds: Sequence[Result]) -> list[Float64[np.ndarray, "_"]]:
    """Return the returns of each seed as memory scores, see `scores.memory_score`."""
    return [scores.memory_score(group[0], seed.returns, partial_obs=group[1]) for seed in seeds]


def score(group: Group, seeds: Sequence[Result]) -> Aggregate:
    """Return the memory score of an agent in an environment and view."""
    own = memory_scores(group, seeds)
    return estimate(mean_of(own), resampled(own, np.random.default_rng(0)))


def above_none(groups: dict[Group, list[Result]], group: Group) -> Aggregate | None:
    """Return by how much the memory score of an agent exceeds that of its algorithm without memory.

    None if there are no results without memory, or these are they.
    """
    algorithm = groups[group][0].algorithm
    rivals = [
        seeds
        for other, seeds in groups.items()
        if other[:2] == group[:2] and (seeds[0].algorithm, seeds[0].memory) == (algorithm, NONE)
    ]
    if not rivals or groups[group][0].memory == NONE:
        return None
    own, other = memory_scores(group, groups[group]), memory_scores(group, rivals[0])
    rng = np.random.default_rng(0)
    return estimate(mean_of(own) - mean_of(other), resampled(own, rng) - resampled(other, rng))


def profile(
    games: Sequence[Float[np.ndarray, "_"]], taus: Float[np.ndarray, "points"]
) -> tuple[Float64[np.ndarray, "points"], Float64[np.ndarray, "points"], Float64[np.ndarray, "points"]]:
    """Return a performance profile: the share of runs whose score exceeds each tau, the mean over games.

    Args:
        games: for each game the scores of its seeds.
        taus: the thresholds.

    Returns:
        (share, and the ends of its 95 % interval, in which the seeds of each game are drawn anew); nan where no game has
        several seeds.

    Source: Agarwal et al. 2021, arXiv 2108.13264, section 4.2.
    """

    def shares(of: Sequence[Float[np.ndarray, "*n _"]]) -> Float64[np.ndarray, "*n points"]:
        return np.mean([(seeds[..., None] > taus).mean(-2) for seeds in of], axis=0)

    rng = np.random.default_rng(0)
    if all(len(seeds) == 1 for seeds in games):
        return shares(games), np.full(len(taus), np.nan), np.full(len(taus), np.nan)
    drawn = shares([rng.choice(np.asarray(seeds), (RESAMPLES, len(seeds))) for seeds in games])
    low, high = np.quantile(drawn, [0.025, 0.975], axis=0)
    return shares(games), low, high
