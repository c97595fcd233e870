"""Shapes and dtypes are checked in all tests, those of records here."""

import functools
from typing import Any

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from popgym_arcade.baselines import replay
from popgym_arcade.baselines.algorithm import Task
from popgym_arcade.baselines.collect import collect, step_agents
from popgym_arcade.baselines.dqn import DQN
from popgym_arcade.baselines.evaluation import greedy
from popgym_arcade.baselines.pqn import PQN
from popgym_arcade.baselines.returns import lambda_returns
from tests.shapes import assert_true_to_its_annotations
from tests.tiny import Tiny

SIZES: Any = {"num_envs": 4, "num_steps": 3, "minibatches": 2, "burn_in": 0}


def test_functions_are_checked() -> None:
    reward, value, ends = jnp.zeros((5, 2)), jnp.ones((5, 2)), jnp.zeros((5, 2), bool)
    returns = functools.partial(lambda_returns, gamma=0.9, td_lambda=0.8)
    assert returns(reward, value, ends, ends).shape == (5, 2)
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'bootstrap_value'"):
        returns(reward, value.T, ends, ends)
    with pytest.raises(jaxtyping.TypeCheckError, match="parameter 'truncated'"):
        returns(reward, value, ends, ends.astype(jnp.float32))


@pytest.mark.usefixtures("unchecked")
def test_functions_are_not_checked_where_tests_say_so() -> None:
    ends = jnp.zeros((5, 2))
    assert not lambda_returns(ends, ends, ends, ends, gamma=0.9, td_lambda=0.8).any()


class Network:
    """Counts the frames of an episode."""

    def initial_state(self) -> Any:
        return {"count": jnp.int32(0)}

    def __call__(self, state: Any, obs: jax.Array, last_action: jax.Array, start: jax.Array) -> Any:
        count = jnp.where(start, 0, state["count"]) + 1
        return {"count": count[-1]}, jnp.tile(count[:, None].astype(jnp.float32), 5)


def test_records_of_the_baselines() -> None:
    env, algorithm = Tiny(partial_obs=True, obs_size=64), DQN(**SIZES)
    task = Task(env, env.default_params, Network(), jax.random.key(0))

    @jax.jit
    def records() -> tuple[Any, ...]:
        network, keys = task.network(None), task.env_keys(0, 4)
        learner = algorithm.init(None, task)
        _, step = step_agents(network, env, task.env_params, greedy, learner.actors, keys)
        actors, rollout = collect(network, task, greedy, jnp.max, learner.actors, keys, 3, bootstrap_truncated=True)
        _, told = collect(
            network, task, lambda *_: (jnp.int32(0), jnp.float32(0)), jnp.max, actors, keys, 3, bootstrap_truncated=True
        )
        ring = replay.write(learner.replay, rollout, learner.actors.memory, jnp.int32(0))
        places = algorithm.draw(task, network, jnp.int32(0))
        sample = replay.read_sequences(ring, places.slot[0], places.env[0], 3, jnp.int32(0), 3)
        return (
            PQN(**SIZES).init(None, task),
            learner,
            actors,
            step,
            rollout,
            told,
            ring,
            places,
            sample.frames(0, -1),
            sample,
        )

    found = records()
    for record in found:
        assert_true_to_its_annotations(record)
    sample = found[-1]
    with pytest.raises(AssertionError, match="obs"):
        assert_true_to_its_annotations(sample._replace(obs=sample.obs[:-1]))
    with pytest.raises(AssertionError, match="reward"):
        assert_true_to_its_annotations(sample._replace(reward=np.asarray(sample.reward)))
