import jax
import numpy as np
import pytest

from popgym_arcade.checks import SEEDS
from popgym_arcade.play.session import Session


def test_an_episode_is_given_by_its_seed() -> None:
    frames = []
    session = Session("CountRecallEasy", SEEDS - 1, 64, partial_obs=True)
    for seed in (SEEDS - 1, 7, SEEDS - 1):
        session.begin(seed)
        episode = [session.frame(True)]
        for action in (0, 4, 1, 4, 4):
            session.act(action)
            episode.append(session.frame(True))
        frames.append(np.stack(episode))
    session.close()
    np.testing.assert_array_equal(frames[0], frames[2])
    assert not np.array_equal(frames[0], frames[1])


def test_the_generator_is_always_the_same() -> None:
    with jax.default_prng_impl("rbg"):
        other = Session("NavigatorEasy", 3, 64)
        digest = other.digest()
        other.close()
    session = Session("NavigatorEasy", 3, 64)
    assert session.digest() == digest
    session.close()


def test_ends() -> None:
    session = Session("CartPoleEasy", 0, 64)
    while not session.end:
        session.act(2)
    assert session.end == "terminated"
    assert session.total == pytest.approx((session.step - 1) / session.params.max_steps_in_episode)
    with pytest.raises(RuntimeError, match="has ended"):
        session.act(2)
    session.close()
