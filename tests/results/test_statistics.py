"""Estimates whose answer is known."""

import pathlib
from typing import Any

import numpy as np
import pytest
import scipy.stats

from popgym_arcade import scores
from popgym_arcade.results import statistics
from popgym_arcade.results.reading import Result

HERE = pathlib.Path("here")


def result(score: Any, *, memory: str = "gru", seed: int = 0, env_id: str = "SkittlesEasy", **settings: Any) -> Result:
    """A result in a POMDP, given as memory scores of its episodes."""
    zero, one = scores.scale(env_id, partial_obs=True)
    returns = zero + (one - zero) * np.asarray(score, np.float64)
    return Result(env_id, settings.pop("algorithm", "pqn"), memory, True, seed, returns, {}, settings, HERE)


def test_an_interval_covers_its_value_as_often_as_it_says() -> None:
    """Seeds differ by a normal number, episodes by another; the mean is 0 by construction."""
    rng = np.random.default_rng(0)
    covered = 0
    for trial in range(200):
        seeds = [rng.normal() + rng.normal(size=30) for _ in range(12)]
        low, high = statistics.estimate(0.0, statistics.resampled(seeds, np.random.default_rng(trial), 400))[1:]
        covered += low <= 0 <= high
    # A bootstrap of twelve seeds is known to be some percent too narrow.
    assert scipy.stats.binomtest(covered, 200, 0.92).pvalue > 1e-3


def test_of_one_seed_the_episodes_alone_are_drawn() -> None:
    episodes = np.random.default_rng(1).normal(3, 2, 400)
    drawn = statistics.resampled([episodes], np.random.default_rng(2))
    assert drawn.mean() == pytest.approx(episodes.mean(), abs=0.02)
    assert drawn.std() == pytest.approx(episodes.std() / 20, rel=0.1)
    with pytest.raises(ValueError, match="at least one episode of each of at least one seed"):
        statistics.resampled([], np.random.default_rng(0))


def test_a_score_and_what_it_is_above_no_memory() -> None:
    results = [result([0.7, 0.9], seed=seed) for seed in range(3)]
    results += [result([0.1, 0.3], memory="none", seed=seed) for seed in range(3)]
    groups = statistics.grouped(results, statistics.namer(results))
    group = "SkittlesEasy", True, "gru"
    found = statistics.score(group, groups[group])
    assert found.value == pytest.approx(0.8) and 0.7 <= found.low < 0.8 < found.high <= 0.9
    above = statistics.above_none(groups, group)
    assert above is not None and above.value == pytest.approx(0.6) and above.low < 0.6 < above.high
    assert statistics.above_none(groups, ("SkittlesEasy", True, "none")) is None
    assert statistics.above_none({group: groups[group]}, group) is None


def test_no_memory_is_that_of_the_same_algorithm() -> None:
    results = [result([0.7, 0.9]), result([0.1, 0.3], memory="none")]
    results += [result([0.7, 0.9], algorithm="ppo"), result([0.5, 0.7], memory="none", algorithm="ppo")]
    groups = statistics.grouped(results, statistics.namer(results))
    found = {group[2]: statistics.above_none(groups, group) for group in groups}
    assert {name: above and round(above.value, 6) for name, above in found.items()} == {
        "pqn gru": 0.6,
        "pqn none": None,
        "ppo gru": 0.2,
        "ppo none": None,
    }


def test_agents_are_named_by_what_they_differ_in() -> None:
    one = result([0.5])
    assert statistics.namer([one])(one) == "gru"
    assert statistics.namer([one, result([0.5], algorithm="ppo")])(one) == "pqn gru"
    assert statistics.namer([one], ["layers"])(result([0.5], layers=2)) == "gru layers=2"


def test_a_profile() -> None:
    taus = np.array([0.0, 0.25, 0.5])
    share, low, high = statistics.profile([np.array([0.1, 0.3]), np.array([0.6, 0.7])], taus)
    np.testing.assert_allclose(share, [1, 0.75, 0.5])
    assert np.all(low <= share) and np.all(share <= high) and low[1] < high[1]
    _, low, _ = statistics.profile([np.array([0.1])], taus)
    assert np.isnan(low).all()
