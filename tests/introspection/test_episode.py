from typing import Any

import jax
import numpy as np
import pytest

import popgym_arcade
from popgym_arcade.baselines.evaluation import evaluate, greedy
from popgym_arcade.introspection.episode import record, replay, unit
from tests.introspection import known
from tests.tiny import Tiny


@pytest.mark.parametrize("make", [known.small, known.policy])
def test_episodes_are_those_of_the_evaluation(make: Any) -> None:
    env, model, key = Tiny(obs_size=64), make("gru"), jax.random.key(1)
    evaluated = jax.jit(lambda: evaluate(model, env, env.default_params, greedy, key, 3))()
    for number in range(3):
        episode = record(model, env, key, number=number)
        assert len(episode) == evaluated.length[number]
        assert episode.reward.sum() == pytest.approx(float(evaluated.total[number]))
        assert not episode.ended_early
        np.testing.assert_array_equal(episode.start, np.arange(len(episode)) == 0)
        np.testing.assert_array_equal(episode.last_action[1:], episode.action[:-1])
        np.testing.assert_array_equal(episode.rating.argmax(1), episode.action)
        assert episode.frames.dtype == np.uint8
        assert episode.is_policy == (make is known.policy)
        assert np.allclose(episode.values.sum(1), 1) == episode.is_policy


def test_steps_asked_for() -> None:
    env, model = Tiny(obs_size=64), known.small("gru")
    some = record(model, env, jax.random.key(1), 3)
    assert len(some) == 3 and not some.ended_early and not some.ended
    more = record(model, env, jax.random.key(1), 99)
    assert len(more) <= 10 and more.ended_early and more.ended
    np.testing.assert_array_equal(some.frames, more.frames[:3])


@pytest.mark.parametrize("memory", ["gru", "lru", "none"])
def test_a_replay_of_what_was_seen_changes_nothing(memory: str) -> None:
    model = known.small(memory)
    env, _ = popgym_arcade.make("NavigatorEasy", obs_size=64)
    episode = record(model, env, jax.random.key(0), 6)
    picks = np.tile(np.arange(6), (3, 1))
    picks[1, 3], picks[2] = 6, 6
    frames = np.concatenate([unit(episode.frames), np.ones((1, 64, 64, 3), np.float32)])
    same, one, all_of_them = replay(model, episode, frames, picks, chunk=2)
    np.testing.assert_allclose(same, episode.rating, rtol=1e-3, atol=1e-5)
    np.testing.assert_allclose(one[:3], same[:3], rtol=1e-5, atol=1e-6)
    assert not np.allclose(one[3], same[3]) and not np.allclose(all_of_them[0], same[0])
    assert np.allclose(one[4:], same[4:], rtol=1e-5, atol=1e-6) == (memory == "none")


def test_the_actions_are_those_recorded() -> None:
    """Whatever the frames: what enters the memory as the last action is what was done."""
    model, episode = known.small("gru"), known.episode(5)
    picks = np.zeros((1, 5), int)
    other = known.episode(5, seed=1)
    assert not np.allclose(replay(model, episode, episode.frames, picks), replay(model, other, episode.frames, picks))


@pytest.mark.usefixtures("unchecked")
def test_bad_replays() -> None:
    model, episode = known.small("gru"), known.episode(3)
    with pytest.raises(ValueError, match=r"picks must have the shape \[replays, 3\], got \[2\]"):
        replay(model, episode, episode.frames, np.zeros(2, int))
    with pytest.raises(ValueError, match=r"picks must be in 0..2, got 0..3"):
        replay(model, episode, episode.frames, np.array([[0, 1, 3]]))
