"""Recall density, contamination, gap and bias, of agents and tables whose answer is known."""

import dataclasses
import json
import math
import pathlib
from typing import Any

import jaxtyping
import numpy as np
import pytest

from popgym_arcade import scores
from popgym_arcade.introspection import contamination, density, gap, saliency
from popgym_arcade.results import reading
from popgym_arcade.results.reading import Result
from tests.introspection import known
from tests.shapes import assert_true_to_its_annotations


def measured(model: Any, length: int, starts: tuple[int, ...] = (0,)) -> np.ndarray:
    norms = saliency.recall(model, known.episode(length, starts), [length - 1]).l1[0]
    return density.recall_density(norms)


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_the_density_of_who_looks_at_the_last_frames(frames: int) -> None:
    expected = np.where(np.arange(9) >= 9 - frames, 1 / frames, 0)
    np.testing.assert_allclose(measured(known.last(frames), 9), expected, rtol=1e-6)


def test_the_density_of_who_looks_at_the_first_frame() -> None:
    found = measured(known.first(), 9)
    np.testing.assert_allclose(found, np.arange(9) == 0, rtol=1e-6)
    np.testing.assert_allclose(density.thirds(found), [1, 0, 0], atol=1e-12)
    np.testing.assert_array_equal(measured(known.first(), 9, starts=(0, 4)), np.arange(9) == 4)


def test_tau_is_relative_to_the_own_length_and_loses_nothing() -> None:
    random = np.random.default_rng(0)
    for length in (1, 2, 7, 30, 200):
        shares = random.dirichlet(np.ones(length))
        found = density.over_tau(shares)
        assert found.shape == (density.BINS,) and found.sum() == pytest.approx(1)
        np.testing.assert_allclose(found.reshape(3, -1).sum(1), density.thirds(shares), atol=1e-12)
    np.testing.assert_allclose(density.thirds(np.array([0.0, 1.0])), [0, 1 / 3, 2 / 3])
    np.testing.assert_allclose(density.over_tau(np.array([0.25, 0.75]), 4), [0.125, 0.125, 0.375, 0.375])


def test_a_decision_that_depends_on_nothing() -> None:
    assert np.isnan(density.recall_density(np.zeros((4, 5)))).all()


def test_spread() -> None:
    seeds = [np.array([[0.0], [2.0]]), np.array([[3.0], [5.0], [7.0]])]
    found = density.spread(seeds)
    assert found.mean == pytest.approx([3]) and (found.seeds, found.episodes) == (2, 5)
    assert found.standard_error == pytest.approx([np.std([1, 5], ddof=1) / math.sqrt(2)])
    assert found.deviation == pytest.approx([np.std([0, 2, 3, 5, 7], ddof=1)])
    alone = density.spread(seeds[1:])
    assert alone.standard_error == pytest.approx([2 / math.sqrt(3)])
    assert np.isnan(density.spread([np.ones((1, 3))]).standard_error).all()
    with pytest.raises(ValueError, match="at least one episode"):
        density.spread([])


@pytest.mark.parametrize("frames", [1, 3])
def test_noise_lasts_as_long_as_the_frame_is_looked_at(frames: int) -> None:
    found = contamination.noise(known.last(frames), known.episode(8), np.random.default_rng(0), draws=2)
    lag = np.arange(8) - np.arange(8)[:, None]
    np.testing.assert_array_equal(found.moved > 0, (lag >= 0) & (lag < frames))
    assert not found.flipped[(lag < 0) | (lag >= frames)].any()
    assert np.all(found.lasts <= frames)
    moved, flipped = contamination.by_lag(found)
    assert np.all(moved[:frames] > 0) and not moved[frames:].any() and not flipped[frames:].any()


def test_noise_that_is_seen_for_ever() -> None:
    found = contamination.noise(known.first(), known.episode(6), np.random.default_rng(0), sigma=1e4, draws=8)
    assert np.all(found.moved[0] > 0) and not found.moved[1:].any()
    # The first frame decides alone: whichever draw flips one decision flips them all.
    assert 0 < found.flipped[0, 0] == found.flipped[0, 5]
    assert found.lasts[0] == pytest.approx(6 * found.flipped[0, 0])


def test_noise_moves_advantages_as_the_weights_say() -> None:
    model, episode = known.last(1), known.episode(3)
    found = contamination.noise(model, episode, np.random.default_rng(5), sigma=2.0, draws=1)
    noise = np.random.default_rng(5).normal(0, 2, episode.frames.shape).astype(np.float32)
    head: Any = model.head
    weight, bias = np.asarray(head.values.weight, np.float64), np.asarray(head.values.bias, np.float64)
    values = noise.mean((1, 2), dtype=np.float64) @ weight.T
    expected = np.abs(values - values.mean(1, keepdims=True)).mean(1)
    np.testing.assert_allclose(np.diag(found.moved), expected, rtol=1e-3, atol=1e-7)
    clean = episode.frames.mean((1, 2)) / 255 @ weight.T + bias
    assert found.unit == pytest.approx(np.abs(clean - clean.mean(1, keepdims=True)).mean(), rel=1e-4)


def test_shuffled_prefixes() -> None:
    found = contamination.shuffled(known.last(3), known.episode(9), [2, 4, 8], np.random.default_rng(0), draws=6)
    np.testing.assert_array_equal(found.first, [2, 4, 8])
    for row, prefix in enumerate([2, 4, 8]):
        reached = np.flatnonzero(found.moved[row])
        # The last frame before decision k is seen by it and the next, the one before that by decision k alone.
        assert set(reached) <= {prefix, prefix + 1}
    assert found.moved[1, 4] > 0
    remembered = contamination.shuffled(known.first(), known.episode(9), [2], np.random.default_rng(0), draws=1)
    assert np.all(remembered.moved[0, 2:] > 0) and not remembered.moved[0, :2].any()
    with pytest.raises(ValueError, match=r"prefixes must be from 2 to 8, as the episode has 9 frames, got 9"):
        contamination.shuffled(known.first(), known.episode(9), [9], np.random.default_rng(0))


def test_contamination_of_policies() -> None:
    found = contamination.noise(known.policy("gru"), known.episode(4), np.random.default_rng(0))
    assert np.all(np.triu(found.moved)[np.triu_indices(4)] > 0) and not np.tril(found.moved, -1).any()


def result(env_id: str, memory: str, partial_obs: bool, seed: int, returns: Any) -> Result:
    found = np.asarray(returns, np.float64)
    return Result(env_id, "pqn", memory, partial_obs, seed, found, {}, {}, pathlib.Path("here"))


GAMES = ("NavigatorEasy", "TetrisEasy")


def results() -> list[Result]:
    """Two games on their scale from 0 to 1: GRU .5 and .7 in the MDP, .2, .2 and .5 in the POMDP, none .8 in the MDP."""
    rows = []
    for env_id, shift in zip(GAMES, (0.0, 0.1), strict=True):
        zero, one = scores.scale(env_id, partial_obs=False)
        for memory, partial_obs, means in (
            ("gru", False, [0.5, 0.7]),
            ("gru", True, [0.2, 0.2, 0.5]),
            ("none", False, [0.8]),
        ):
            for seed, mean in enumerate(means):
                around = mean + shift + 0.1 * np.array([-1, 1, -1, 1])
                rows.append(result(env_id, memory, partial_obs, seed, zero + (one - zero) * around))
    return rows


def test_gaps_and_biases() -> None:
    first, second, both = gap.observability_gaps(results())
    for found, env_id in ((first, GAMES[0]), (second, GAMES[1]), (both, gap.ALL)):
        assert found.env_id == env_id and found.memory == "gru" and found.seeds == (2, 3)
        assert found.estimate.value == pytest.approx(0.3)
        assert 0.0 < found.estimate.low < 0.3 < found.estimate.high < 0.6
    width = first.estimate.high - first.estimate.low
    assert both.estimate.high - both.estimate.low == pytest.approx(width / math.sqrt(2), rel=0.15)
    one, other, _ = gap.memory_biases(results())
    assert one.estimate.value == other.estimate.value == pytest.approx(-0.2) and one.seeds == (2, 1)
    zero, best = scores.scale(GAMES[0], partial_obs=False)
    assert one.returns == pytest.approx((zero + 0.6 * (best - zero), zero + 0.8 * (best - zero)))
    assert [each.estimate.value for each in gap.pomdp_returns(results())] == pytest.approx([0.3, 0.4, 0.35])
    match = r"NavigatorEasy \(MDP\), memory gru, seed 0 is there twice: in here and in here"
    with pytest.raises(ValueError, match=match):
        gap.observability_gaps(results() * 2)
    alone = [result for result in results() if result.env_id == GAMES[0]]  # no mean over one game
    assert len(gap.observability_gaps(alone)) == 1 == len(gap.memory_biases(alone))
    assert gap.observability_gaps(results()[:2]) == [] == gap.memory_biases(results()[:2])


def test_games_without_references_keep_their_scale() -> None:
    rows = [result("Own", "gru", partial_obs, 0, [0.5, 0.7]) for partial_obs in (False, True)]
    (found,) = gap.observability_gaps([*rows, result("Own", "gru", False, 1, [9.5, 9.7])])
    assert found.env_id == "Own" and found.estimate.value == pytest.approx(4.5)


def write_run(folder: pathlib.Path, memory: str, partial_obs: bool, means: list[float], **settings: Any) -> None:
    folder.mkdir(parents=True)
    config = {
        "env_id": "NavigatorEasy",
        "memory": memory,
        "view": "pomdp" if partial_obs else "mdp",
        "env_version": 1,
        "algorithm": "pqn",
        "num_envs": 1,
        "num_steps": 1,
        "total_timesteps": 8,
    } | settings
    (folder / "config.json").write_text(json.dumps(config))
    found = [{"view": each, "seed": i, "returns": [m] * 10} for i, m in enumerate(means) for each in ("mdp", "pomdp")]
    (folder / "evaluation.json").write_text(json.dumps({"config": config, "results": found}))


def test_runs_are_read(tmp_path: pathlib.Path) -> None:
    write_run(tmp_path / "sweep" / "mdp", "GRU", False, [0.5, 0.6])
    write_run(tmp_path / "pomdp", "gru", True, [0.1])
    found, left_out = reading.read_results([tmp_path / "sweep", tmp_path / "pomdp"])
    assert left_out == {"on views that runs were not trained on": 3, "under other rules than today's": 0}
    assert [(one.memory, one.partial_obs, one.seed, round(one.mean, 6)) for one in found] == [
        ("gru", False, 0, 0.5),
        ("gru", False, 1, 0.6),
        ("gru", True, 0, 0.1),
    ]
    assert reading.unlike(found) == {}
    write_run(tmp_path / "longer", "none", False, [0.1], total_timesteps=9)
    assert reading.unlike([*found, *reading.read_results([tmp_path / "longer"])[0]]) == {
        "NavigatorEasy": ["total_timesteps"]
    }
    write_run(tmp_path / "former", "none", True, [0.1, 0.2], env_version=0)
    found, left_out = reading.read_results([tmp_path / "former"])
    assert not found and left_out["under other rules than today's"] == 2
    (tmp_path / "empty").mkdir()
    with pytest.raises(ValueError, match=r"empty has no run that was evaluated"):
        reading.read_results([tmp_path / "empty"])
    with pytest.raises(FileNotFoundError, match="is no run"):
        reading.read_results([tmp_path / "nowhere"])
    (tmp_path / "pomdp" / "config.json").write_text("{}")
    with pytest.raises(ValueError, match="is no run, or an incomplete one"):
        reading.read_results([tmp_path / "pomdp"])
    (tmp_path / "pomdp" / "config.json").write_text("{")
    with pytest.raises(ValueError, match=r"config.json is damaged"):
        reading.read_results([tmp_path / "pomdp"])


def test_records_have_the_shapes_that_their_annotations_say() -> None:
    model, episode = known.last(2), known.episode(5)
    assert_true_to_its_annotations(saliency.recall(model, episode))
    assert_true_to_its_annotations(saliency.recall(model, episode, [1, 4], small=True))
    found = contamination.noise(model, episode, np.random.default_rng(0))
    assert_true_to_its_annotations(found)
    assert_true_to_its_annotations(contamination.shuffled(model, episode, [2, 3], np.random.default_rng(0)))
    assert_true_to_its_annotations(density.spread([np.stack(contamination.by_lag(found))]))
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'reward'"):
        dataclasses.replace(episode, reward=episode.reward[1:])
