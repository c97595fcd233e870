"""The value of memory: observability gap and memory bias, from the evaluation of many runs.

Returns are means over seeds. A mean over k seeds has the standard error s / sqrt(k), s being the standard deviation between
seeds, which holds the chance in the episodes, too; where there is one seed alone, only the latter is known. A difference of
independent means has the root of the sum of squares.
"""

import math
import pathlib
import statistics
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from popgym_arcade import files, registration
from popgym_arcade.baselines.training import run
from popgym_arcade.environment import view_name
from popgym_arcade.introspection.tables import Table

NONE = "none"
"""The memory that remembers nothing, as runs call it."""
ALL = "all games"
"""The name of the mean over games."""
_OTHER_VIEW, _OTHER_RULES = "on views that runs were not trained on", "under other rules than today's"
_WANTED = (
    "an observability gap needs runs of one game and memory on both views",
    'a memory bias needs runs of one game on the MDP, with a memory and with the memory "none"',
)
_COMPARED = ("env_id", "view", "memory", "window_size", "capacity_of", "seed", "num_seeds")


class Result(NamedTuple):
    """The evaluation of one seed of a run, on the view it was trained on."""

    env_id: str
    memory: str
    partial_obs: bool
    seed: int
    mean: float
    """The mean return."""
    standard_error: float
    """Of that mean, over episodes."""
    run: pathlib.Path
    """Where it was found."""
    settings: dict[str, Any]
    """All of the run."""


class Difference(NamedTuple):
    """The difference of two mean returns."""

    env_id: str
    memory: str
    difference: float
    standard_error: float
    first: float
    """The mean return from which `second` is subtracted."""
    second: float
    seeds: tuple[int, int]
    """How many seeds are behind each mean; of the mean over games, the least there are."""


class GapStudy(NamedTuple):
    """A comparison of runs."""

    results: list[Result]
    gaps: list[Difference]
    """See `observability_gaps`."""
    biases: list[Difference]
    """See `memory_biases`."""
    remarks: tuple[str, ...]
    """What was not counted, what else the runs differ in, and what there is nothing to compare for."""

    @property
    def named(self) -> dict[str, list[Difference]]:
        """The differences, by the name of what they measure."""
        return {"observability gap": self.gaps, "memory bias": self.biases}

    @property
    def table(self) -> Table:
        """A row for each difference."""
        header = ("measure", "env_id", "memory", "difference", "standard_error", "first", "second", "seeds_first")
        rows = [(name, *each[:-1], *each.seeds) for name, differences in self.named.items() for each in differences]
        return Table((*header, "seeds_second"), rows)


def compare(folders: Sequence[pathlib.Path]) -> GapStudy:
    """Compare runs: observability gaps and memory biases.

    Args:
        folders: see `read_results`.

    Raises:
        OSError, ValueError: see `read_results`; and if there is nothing to compare.
    """
    results, left_out = read_results(folders)
    remarks = [f"not counted: {count} results {reason}" for reason, count in left_out.items() if count]
    for env_id, names in unlike(results).items():
        remarks.append(f"beware: the runs of {env_id} differ in {', '.join(names)}, too")
    gaps, biases = observability_gaps(results), memory_biases(results)
    if not gaps and not biases:
        raise ValueError(f"there is nothing to compare: {'; '.join(_WANTED)}")
    remarks += [f"not there: {wanted}" for wanted, found in zip(_WANTED, (gaps, biases), strict=True) if not found]
    return GapStudy(results, gaps, biases, tuple(remarks))


def observability_gaps(results: Iterable[Result]) -> list[Difference]:
    """Observability gap: J(f, M) - J(f, P), f trained separately on the MDP M and its twin P.

    Args:
        results: of at most one run per game, memory, view and seed.

    Returns:
        one for each game and memory that was trained on both views, in the order of `results`, and one of each memory for
        the mean over its games, if there are several.

    Raises:
        ValueError: if a result is there twice.
    """
    means = _means(results)
    pairs = {
        (env_id, memory): (means[env_id, memory, False], means[env_id, memory, True])
        for env_id, memory, partial_obs in means
        if not partial_obs and (env_id, memory, True) in means
    }
    return _differences(pairs)


def memory_biases(results: Iterable[Result]) -> list[Difference]:
    """Memory bias: J(f, M) - J(no memory, M), on the MDP; below zero, memory hurts where it is not needed.

    Args:
        results: of at most one run per game, memory, view and seed.

    Returns:
        one for each game and memory for which there is a run with the memory "none", too, in the order of `results`, and
        one of each memory for the mean over its games, if there are several.

    Raises:
        ValueError: if a result is there twice.
    """
    means = _means(results)
    pairs = {
        (env_id, memory): (means[env_id, memory, False], means[env_id, NONE, False])
        for env_id, memory, partial_obs in means
        if not partial_obs and memory != NONE and (env_id, NONE, False) in means
    }
    return _differences(pairs)


def read_results(folders: Sequence[pathlib.Path]) -> tuple[list[Result], dict[str, int]]:
    """Read the results of runs: of each run and seed that on the view it was trained on.

    Args:
        folders: runs, folders of runs, or names of agents that come with the package.

    Returns:
        (results, how many are left out, by the reason).

    Raises:
        OSError: if a folder or a file cannot be read.
        ValueError: if a folder has no run that was evaluated, or a file is not what it should be.
    """
    results: list[Result] = []
    left_out = {_OTHER_VIEW: 0, _OTHER_RULES: 0}
    for folder in folders:
        within = folder if folder.is_dir() else run.find(folder)
        if not (found := sorted(within.rglob(run.EVALUATION))):
            raise ValueError(f"{folder} has no run that was evaluated: there is no {run.EVALUATION} in it")
        for path in found:
            config, evaluation = files.read_json(path.with_name(run.CONFIG)), files.read_json(path)
            try:
                own = [result for result in evaluation["results"] if result["view"] == config["view"]]
                told = [
                    Result(
                        env_id=str(config["env_id"]),
                        memory=str(config["memory"]).lower(),
                        partial_obs=config["view"] == "pomdp",
                        seed=int(result["seed"]),
                        mean=float(result["mean"]),
                        standard_error=float(result["standard_error"]),
                        run=path.parent,
                        settings=config,
                    )
                    for result in own
                ]
            except KeyError as error:
                raise ValueError(f"{path.parent} is no run, or an incomplete one: there is no {error}") from None
            except (TypeError, ValueError) as error:
                raise ValueError(f"{path.parent} is no run, or a damaged one: {error}") from None
            left_out[_OTHER_VIEW] += len(evaluation["results"]) - len(own)
            if registration.other_rules(str(config["env_id"]), config.get("env_version", 0)):
                left_out[_OTHER_RULES] += len(told)
            else:
                results += told
    return results, left_out


def returns(results: Iterable[Result]) -> dict[tuple[str, bool, str], list[float]]:
    """Gather the mean returns of seeds by (game, whether it is the POMDP, memory), as `scores.aggregates` wants them."""
    found: dict[tuple[str, bool, str], list[float]] = {}
    for result in results:
        found.setdefault((result.env_id, result.partial_obs, result.memory), []).append(result.mean)
    return found


def unlike(results: Iterable[Result]) -> dict[str, list[str]]:
    """Return the settings in which runs of a game differ though a comparison of views and memories is not about them.

    Args:
        results: as `read_results` returns them.

    Returns:
        the names of settings, by game; games without any are left out.
    """
    games: dict[str, list[dict[str, Any]]] = {}
    for result in results:
        games.setdefault(result.env_id, []).append(result.settings)
    found = {}
    for game, every in games.items():
        names = {name: None for settings in every for name in settings if name not in _COMPARED}
        if differ := [name for name in names if any(settings.get(name) != every[0].get(name) for settings in every)]:
            found[game] = differ
    return found


class _Mean(NamedTuple):
    mean: float
    variance: float
    """Of the mean."""
    seeds: int


def _means(results: Iterable[Result]) -> dict[tuple[str, str, bool], _Mean]:
    groups: dict[tuple[str, str, bool], dict[int, Result]] = {}
    for result in results:
        seeds = groups.setdefault((result.env_id, result.memory, result.partial_obs), {})
        if twin := seeds.get(result.seed):
            view = view_name(result.partial_obs)
            what = f"{result.env_id} ({view}), memory {result.memory}, seed {result.seed}"
            raise ValueError(f"{what} is there twice: in {twin.run} and in {result.run}")
        seeds[result.seed] = result
    return {group: _mean(list(seeds.values())) for group, seeds in groups.items()}


def _mean(results: list[Result]) -> _Mean:
    means = [result.mean for result in results]
    if len(means) == 1:
        return _Mean(means[0], results[0].standard_error ** 2, 1)
    return _Mean(statistics.fmean(means), statistics.variance(means) / len(means), len(means))


def _differences(pairs: dict[tuple[str, str], tuple[_Mean, _Mean]]) -> list[Difference]:
    found = [
        Difference(env_id, memory, *_minus(first, second), first.mean, second.mean, (first.seeds, second.seeds))
        for (env_id, memory), (first, second) in pairs.items()
    ]
    for memory in dict.fromkeys(memory for _, memory in pairs):
        games = [difference for difference in found if difference.memory == memory and difference.env_id != ALL]
        if len(games) == 1:
            continue
        found.append(
            Difference(
                env_id=ALL,
                memory=memory,
                difference=statistics.fmean(game.difference for game in games),
                standard_error=math.hypot(*(game.standard_error for game in games)) / len(games),
                first=statistics.fmean(game.first for game in games),
                second=statistics.fmean(game.second for game in games),
                seeds=(min(game.seeds[0] for game in games), min(game.seeds[1] for game in games)),
            )
        )
    return found


def _minus(first: _Mean, second: _Mean) -> tuple[float, float]:
    return first.mean - second.mean, math.sqrt(first.variance + second.variance)
