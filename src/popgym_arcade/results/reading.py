"""Reading results: of runs, of folders of runs, and of entries."""

import pathlib
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import Float64

from popgym_arcade import files, registration
from popgym_arcade.baselines.training import run
from popgym_arcade.results import entry

NONE = "none"
"""The memory that remembers nothing, as runs call it."""
_OTHER_VIEW, _OTHER_RULES = "on views that runs were not trained on", "under other rules than today's"
_COMPARED = ("env_id", "view", "memory", "window_size", "horizon", "capacity_of", "seed", "num_seeds")


class Result(NamedTuple):
    """The evaluation of one seed, on the view it was trained on."""

    env_id: str
    algorithm: str
    memory: str
    partial_obs: bool
    seed: int
    returns: Float64[np.ndarray, "episodes"]
    """Of greedy episodes."""
    curve: dict[str, Float64[np.ndarray, "points"]]
    """`steps`, `returns` (of training episodes) and `policy_churn`, nan where not known; empty, if nothing is."""
    settings: dict[str, Any]
    """Those of the run, as far as they are known."""
    path: pathlib.Path
    """Where it was found."""

    @property
    def mean(self) -> float:
        """The mean return."""
        return float(self.returns.mean())


def read_results(paths: Sequence[pathlib.Path]) -> tuple[list[Result], dict[str, int]]:
    """Read the results of each run and seed on the view it was trained on.

    Args:
        paths: runs, entries (files of JSON, see `entry`), folders of either, or names of agents that come with the package.

    Returns:
        (results, how many are left out, by the reason).

    Raises:
        OSError: if a folder or a file cannot be read.
        ValueError: if there is no result in one of them, or a file is not what it should be.
    """
    found: list[Result] = []
    left_out = {_OTHER_VIEW: 0, _OTHER_RULES: 0}
    for path in paths:
        for place, content, others in _contents(path):
            left_out[_OTHER_VIEW] += others
            results = list(_results(content, place))
            if registration.other_rules(content["env_id"], content["env_version"]):
                left_out[_OTHER_RULES] += len(results)
                continue
            found += results
    return found, left_out


def remarks(left_out: dict[str, int]) -> list[str]:
    """Say what `read_results` has left out, a line for each reason there is."""
    return [f"not counted: {count} results {reason}" for reason, count in left_out.items() if count]


def _contents(path: pathlib.Path) -> Iterator[tuple[pathlib.Path, dict[str, Any], int]]:
    """Yield entries, where they were found, and of how many results on another view a run tells."""
    if path.is_file():
        yield path, _checked(files.read_json(path), path), 0
        return
    within = path if path.is_dir() else run.find(path)
    runs = sorted(within.rglob(run.EVALUATION))
    is_run = within / run.EVALUATION in runs
    entries = [] if is_run else sorted(set(within.glob("*.json")) - {within / run.CONFIG})
    if not runs and not entries:
        raise ValueError(f"{path} has no run that was evaluated: there is no {run.EVALUATION} in it, and no entry")
    for file in runs:
        try:
            content, others = entry.of_run(file.parent)
        except LookupError as error:
            raise ValueError(f"{file.parent} is no run, or an incomplete one: there is no {error}") from None
        except (TypeError, AttributeError) as error:
            raise ValueError(f"{file.parent} is no run, or a damaged one: {error}") from None
        yield file.parent, _checked(content, file.parent), others
    for file in entries:
        yield file, _checked(files.read_json(file), file), 0


def _checked(content: Any, path: pathlib.Path) -> dict[str, Any]:
    if complaints := entry.check_form(content):
        raise ValueError(f"{path} is no entry, or a damaged one: {complaints[0]}")
    return content


def _results(content: dict[str, Any], path: pathlib.Path) -> Iterator[Result]:
    for each in content["seeds"]:
        yield Result(
            env_id=content["env_id"],
            algorithm=content["algorithm"],
            memory=content["memory"].lower(),
            partial_obs=content["view"] == "pomdp",
            seed=each["seed"],
            returns=np.asarray(each["returns"], np.float64),
            curve={name: np.array(values, np.float64) for name, values in each.get("curve", {}).items()},
            settings=content.get("config", {}),
            path=path,
        )


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
