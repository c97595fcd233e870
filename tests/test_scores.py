"""The scale of memory scores, and aggregates over games."""

import numpy as np
import pytest
import scipy.stats

from popgym_arcade import scores

ENV = "SkittlesEasy"


def test_the_marks_of_the_scale() -> None:
    found = scores.references(ENV)
    floor = max(found["memoryless"].mean, found["blind"].mean)
    assert scores.memory_score(ENV, [floor, found["memory"].mean], partial_obs=True) == pytest.approx([0, 1])
    assert scores.memory_score(ENV, [found["random"].mean, found["best"].mean], partial_obs=False) == pytest.approx([0, 1])


def test_scores_are_linear_and_not_clipped() -> None:
    zero, one = scores.scale(ENV, partial_obs=True)
    returns = np.array([[zero - 1, zero], [one, one + 1]])
    scored = scores.memory_score(ENV, returns, partial_obs=True)
    assert scored == pytest.approx((returns - zero) / (one - zero))
    assert scored.shape == (2, 2) and scored.min() < 0 and scored.max() > 1


def test_an_unknown_game_is_named() -> None:
    with pytest.raises(LookupError, match="'MyGame'"):
        scores.memory_score("MyGame", 0.5, partial_obs=True)
    assert scores.told("MyGame", 0.5, partial_obs=True) == ""
    assert scores.aggregates({("MyGame", True, "lru"): [0.5]}) == {}


def test_interquartile_mean() -> None:
    games = [[0.1, 0.2, 0.9], [0.5, 0.4, 0.6], [0.0, 1.0], [0.3]]
    flat = np.sort(np.concatenate(games))  # nine scores, of which two fall away at each end
    assert scores.interquartile_mean(games).value == pytest.approx(flat[2:-2].mean())


def test_intervals_cover() -> None:
    """Of 200 samples of seeds, the 95 % interval holds the true statistic about as often as a bootstrap of so few can."""
    rng = np.random.default_rng(0)
    means = np.linspace(0, 1, 10)
    truth = scipy.stats.trim_mean((means[:, None] + 0.1 * rng.standard_normal((10, 20_000))).ravel(), 0.25)
    covered = 0
    for _ in range(200):
        found = scores.interquartile_mean(list(means[:, None] + 0.1 * rng.standard_normal((10, 5))), resamples=400)
        assert found.low <= found.value <= found.high
        covered += found.low <= truth <= found.high
    assert covered >= 170


def test_a_bootstrap_is_stratified() -> None:
    """Games stay in every sample: where seeds agree there is nothing to draw, however far apart the games are."""
    found = scores.interquartile_mean([[0.0, 0.0], [0.4, 0.4], [0.6, 0.6], [1.0, 1.0]])
    assert found.low == found.value == found.high == pytest.approx(0.5)


def test_one_seed_of_each_game_has_no_interval() -> None:
    found = scores.interquartile_mean([[0.0], [0.4], [0.6], [1.0]])
    assert found.value == pytest.approx(0.5) and np.isnan([found.low, found.high]).all()
    [line] = scores.aggregate_lines({("SkittlesEasy", True, "lru"): [0.5]})
    assert "one seed of each" in line and "interval" not in line and "nan" not in line


@pytest.mark.parametrize("empty", [[], [[0.5], []]])
def test_nothing_has_no_mean(empty: list[list[float]]) -> None:
    with pytest.raises(ValueError, match="at least one"):
        scores.interquartile_mean(empty)


def test_aggregates_over_games() -> None:
    returns = {("SkittlesEasy", True, "lru"): [0.9, 0.8], ("NavigatorEasy", True, "lru"): [0.1], (ENV, False, "lru"): [1.0]}
    found = scores.aggregates(returns)
    scored = [scores.memory_score(game, means, partial_obs=view) for (game, view, _), means in returns.items()]
    assert found[True, "lru"] == scores.interquartile_mean(scored[:2])
    assert found[False, "lru"].value == pytest.approx(float(scored[2][0]))
    assert len(scores.aggregate_lines(returns)) == 2
