from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade.baselines.evaluation import evaluate
from tests.baselines.test_collect import Recorder
from tests.tiny import Tiny


def act(key: jax.Array, output: Any) -> Any:
    """Give up, by fire, at a step that the arrow tells: each arrow has a length and a return of its own."""
    target = output[1]["sum"] > 0
    return jnp.where((output[1]["count"] > 3) & target, 4, jax.random.randint(key, (), 0, 4)).astype(jnp.int32), None


def test_episodes() -> None:
    env = Tiny(obs_size=64)
    params = env.default_params
    play = jax.jit(lambda key: evaluate(Recorder(), env, params, act, key, 32))
    played = play(jax.random.key(0))
    np.testing.assert_array_equal(played.terminated, played.length == 4)
    np.testing.assert_array_equal(played.truncated, (played.length == 10) & ~played.terminated)
    assert np.all(played.terminated ^ played.truncated)
    assert np.all((played.total >= 0) & (played.total <= 0.1 * played.length + 1e-6))
    jax.tree.map(np.testing.assert_array_equal, played, play(jax.random.key(0)))
    assert len(np.unique(np.asarray(played.total))) > 2


def test_an_episode_is_the_same_among_fewer() -> None:
    env = Tiny(obs_size=64)
    few, many = (evaluate(Recorder(), env, env.default_params, act, jax.random.key(3), number) for number in (3, 8))
    jax.tree.map(lambda one, other: np.testing.assert_array_equal(one, other[:3]), few, many)
