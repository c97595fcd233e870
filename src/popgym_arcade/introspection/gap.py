"""The value of memory: observability gap and memory bias, from the evaluation of many runs.

Returns are rescaled before they are compared: 0 is what random play has in the MDP of a game, 1 what the best reference
player has there, in both views. So games weigh alike in a mean. Games without reference returns keep their own scale, and
are left out of means. Intervals are of 95 %, by a bootstrap over seeds and episodes, see `popgym_arcade.results.statistics`.
"""

import pathlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float64

from popgym_arcade import scores
from popgym_arcade.results import reading, statistics
from popgym_arcade.results.reading import NONE, Result, read_results, unlike
from popgym_arcade.results.statistics import Group
from popgym_arcade.scores import Aggregate
from popgym_arcade.tables import Table

ALL = "all games"
"""The name of the mean over games."""
_WANTED = (
    "an observability gap needs runs of one game and memory on both views",
    'a memory bias needs runs of one game on the MDP, with a memory and with the memory "none"',
)


class Measured(NamedTuple):
    """A measure of a memory in a game, or in all games."""

    env_id: str
    memory: str
    estimate: Aggregate
    """The value with its 95 % interval, of rescaled returns."""
    returns: tuple[float, ...]
    """The mean returns behind it, not rescaled; of the mean over games none."""
    seeds: tuple[int, ...]
    """How many seeds are behind each; of the mean over games, the least there are."""


class GapStudy(NamedTuple):
    """A comparison of runs."""

    results: list[Result]
    gaps: list[Measured]
    """See `observability_gaps`."""
    biases: list[Measured]
    """See `memory_biases`."""
    pomdp: list[Measured]
    """See `pomdp_returns`."""
    remarks: tuple[str, ...]
    """What was not counted, what else the runs differ in, and what there is nothing to compare for."""

    @property
    def named(self) -> dict[str, list[Measured]]:
        """What was measured, by its name."""
        return {"observability gap": self.gaps, "memory bias": self.biases, "return in the POMDP": self.pomdp}

    @property
    def table(self) -> Table:
        """A row for each measure, game and memory."""
        header = ("measure", "env_id", "memory", "value", "low", "high", "return", "subtracted", "seeds", "seeds_subtracted")
        rows = []
        for name, found in self.named.items():
            for each in found:
                pairs = [(*pair, None, None)[:2] for pair in (each.returns, each.seeds)]
                rows.append((name, each.env_id, each.memory, *each.estimate, *pairs[0], *pairs[1]))
        return Table(header, rows)


def compare(paths: Sequence[pathlib.Path]) -> GapStudy:
    """Compare runs: observability gaps and memory biases.

    Args:
        paths: see `read_results`.

    Raises:
        OSError, ValueError: see `read_results`; and if there is nothing to compare.
    """
    results, left_out = read_results(paths)
    remarks = reading.remarks(left_out)
    for env_id, names in unlike(results).items():
        remarks.append(f"beware: the runs of {env_id} differ in {', '.join(names)}, too")
    if unknown := list(dict.fromkeys(result.env_id for result in results if result.env_id not in scores.known())):
        remarks.append(f"without reference returns, so on a scale of their own and in no mean: {', '.join(unknown)}")
    gaps, biases = observability_gaps(results), memory_biases(results)
    if not gaps and not biases:
        raise ValueError(f"there is nothing to compare: {'; '.join(_WANTED)}")
    remarks += [f"not there: {wanted}" for wanted, found in zip(_WANTED, (gaps, biases), strict=True) if not found]
    return GapStudy(results, gaps, biases, pomdp_returns(results), tuple(remarks))


def observability_gaps(results: Iterable[Result]) -> list[Measured]:
    """Observability gap: J(f, M) - J(f, P), f trained separately on the MDP M and its twin P.

    Args:
        results: of at most one run per game, memory, view and seed.

    Returns:
        one for each game and memory that was trained on both views, in the order of `results`, and one of each memory for
        the mean over its games, if there are several.

    Raises:
        ValueError: if a result is there twice.
    """
    return _measured(results, lambda env_id, memory: [(env_id, False, memory), (env_id, True, memory)])


def memory_biases(results: Iterable[Result]) -> list[Measured]:
    """Memory bias: J(f, M) - J(no memory, M), on the MDP; below zero, memory hurts where it is not needed.

    Args:
        results: of at most one run per game, memory, view and seed.

    Returns:
        one for each game and memory for which there is a run with the memory "none", too, in the order of `results`, and
        one of each memory for the mean over its games, if there are several.

    Raises:
        ValueError: if a result is there twice.
    """
    return _measured(results, lambda env_id, memory: [(env_id, False, memory), (env_id, False, NONE)])


def pomdp_returns(results: Iterable[Result]) -> list[Measured]:
    """Return rescaled returns in the POMDP, J(f, P).

    Args:
        results: of at most one run per game, memory, view and seed.

    Returns:
        one for each game and memory that was trained on the POMDP, in the order of `results`, and one of each memory for the
        mean over its games, if there are several.

    Raises:
        ValueError: if a result is there twice.
    """
    return _measured(results, lambda env_id, memory: [(env_id, True, memory)])


def returns(results: Iterable[Result]) -> dict[Group, list[float]]:
    """Gather the mean returns of seeds by (game, whether it is the POMDP, memory), as `scores.aggregates` wants them."""
    groups = statistics.grouped(results, lambda result: result.memory)
    return {group: [seed.mean for seed in seeds] for group, seeds in groups.items()}


def rescaled(env_id: str, returns: Float64[np.ndarray, "_"]) -> Float64[np.ndarray, "_"]:
    """Rescale returns of either view by the references of the MDP; those of games without references are left alone."""
    return scores.memory_score(env_id, returns, partial_obs=False) if env_id in scores.known() else returns


def _measured(results: Iterable[Result], operands: Callable[[str, str], list[Group]]) -> list[Measured]:
    """Measure the mean return of the first of `operands`, less that of the second, where all of them are there."""
    groups = statistics.grouped(results, lambda result: result.memory)
    statistics.check_distinct(groups)
    rng = np.random.default_rng(0)
    found: list[Measured] = []
    samples = []
    for env_id, memory in dict.fromkeys((group[0], group[2]) for group in groups):
        wanted = operands(env_id, memory)
        if any(group not in groups for group in wanted) or len({*wanted}) < len(wanted):  # nothing less itself is zero
            continue
        own = [[rescaled(env_id, seed.returns) for seed in groups[group]] for group in wanted]
        value, *subtracted = [statistics.mean_of(seeds) for seeds in own]
        drawn, *drawn_subtracted = [statistics.resampled(seeds, rng) for seeds in own]
        samples.append(drawn - sum(drawn_subtracted))
        estimate = statistics.estimate(value - sum(subtracted), samples[-1])
        means = tuple(statistics.mean_of([seed.returns for seed in groups[group]]) for group in wanted)
        found.append(Measured(env_id, memory, estimate, means, tuple(len(groups[group]) for group in wanted)))
    alone = list(found)
    for memory in dict.fromkeys(each.memory for each in alone):
        pairs = zip(alone, samples, strict=True)
        own = [(each, drawn) for each, drawn in pairs if each.memory == memory and each.env_id in scores.known()]
        if len(own) > 1:
            value = float(np.mean([each.estimate.value for each, _ in own]))
            estimate = statistics.estimate(value, np.mean([drawn for _, drawn in own], axis=0))
            seeds = tuple(min(counts) for counts in zip(*(each.seeds for each, _ in own), strict=True))
            found.append(Measured(ALL, memory, estimate, (), seeds))
    return found
