"""The wrappers against what they say, on scripted courses of events and on games."""

import copy
import dataclasses
import pickle
from typing import Any

import hypothesis
import hypothesis.strategies as st
import jax
import jax.numpy as jnp
import numpy as np
import pytest

import popgym_arcade
from popgym_arcade.spaces import Box
from popgym_arcade.wrappers import FlattenObservationWrapper, LogWrapper, ScaleObservationWrapper
from tests.random_play import ENVS, STEPS, roll
from tests.tiny import Tiny


@pytest.fixture(scope="module")
def game() -> tuple[Any, Any]:
    env = Tiny(partial_obs=True, obs_size=64)
    return env, env.default_params


@pytest.fixture(scope="module")
def runs(game: tuple[Any, Any]) -> dict[str, Any]:
    env, params = game
    params = params.replace(max_steps_in_episode=7)
    views = {
        "plain": env,
        "log": LogWrapper(env),
        "FlattenObservationWrapper": FlattenObservationWrapper(env),
        "ScaleObservationWrapper": ScaleObservationWrapper(env),
        "log of flat": LogWrapper(FlattenObservationWrapper(env), keep_final_state=True),
        "flat of log": FlattenObservationWrapper(LogWrapper(env)),
    }
    return {name: roll(view, params) for name, view in views.items()}


def assert_same(first: Any, second: Any) -> None:
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)


def without_state(info: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in info.items() if name != "final_state"}


class Scripted:
    """Rewards and ends as written in its params, which are arrays of length STEPS."""

    def reset(self, key: Any, params: Any = None) -> Any:
        return jnp.zeros(()), jnp.zeros((), jnp.int32)

    def step(self, key: Any, state: Any, action: Any, params: Any = None) -> Any:
        rewards, dones = params
        return jnp.zeros(()), state + 1, rewards[state], dones[state], {}


@jax.jit
def play_script(rewards: jax.Array, dones: jax.Array) -> Any:
    env = LogWrapper(Scripted())
    key = jax.random.key(0)

    def body(state: Any, _: Any) -> Any:
        _, state, _, _, info = env.step(key, state, 0, (rewards, dones))
        return state, (state, info)

    return jax.lax.scan(body, env.reset(key)[1], length=STEPS)[1]


@hypothesis.settings(deadline=None, max_examples=50)
@hypothesis.given(st.lists(st.tuples(st.integers(-8, 8), st.booleans()), min_size=STEPS, max_size=STEPS))
def test_log_of_any_course(course: list[tuple[int, bool]]) -> None:
    rewards = np.array([reward for reward, _ in course], np.float32) / 8
    dones = np.array([done for _, done in course])
    state, info = jax.tree.map(np.asarray, play_script(rewards, dones))
    first, last = 0, (0.0, 0)
    for time, done in enumerate(dones):
        so_far = (rewards[first : time + 1].sum(), time + 1 - first)
        if done:
            first, last, so_far = time + 1, so_far, (0.0, 0)
        assert (state.episode_returns[time], state.episode_lengths[time]) == so_far
        assert (info["returned_episode_returns"][time], info["returned_episode_lengths"][time]) == last
        assert (state.returned_episode_returns[time], state.returned_episode_lengths[time]) == last
        assert (info["timestep"][time], info["returned_episode"][time]) == (time + 1, done)
    assert np.array_equal(state.timestep, info["timestep"])


def test_log_changes_no_game(runs: dict[str, Any]) -> None:
    (obs, start), (frames, states, *rest, info) = runs["plain"]
    (log_obs, log_start), (log_frames, log_states, *log_rest, log_info) = runs["log"]
    assert_same((obs, start), (log_obs, log_start.env_state))
    assert_same((frames, states, rest), (log_frames, log_states.env_state, log_rest))
    assert_same(without_state(info), {name: log_info[name] for name in without_state(info)})
    ends = log_info["returned_episode"]
    assert np.array_equal(ends, log_rest[-1])
    assert ends.sum(axis=0).min() > 1, "the test needs several episodes"
    assert np.all(log_info["returned_episode_lengths"][ends] <= 7)


def test_log_keeps_scalars_alone(runs: dict[str, Any]) -> None:
    """Scripts take the mean of every entry, or mask it with the ends of episodes."""
    _, (*_, info) = runs["log"]
    added = {"returned_episode", "returned_episode_lengths", "returned_episode_returns", "timestep"}
    assert set(info) == added | {"terminated", "truncated", "discount"}
    assert {value.shape for value in info.values()} == {(STEPS, ENVS)}
    _, (*_, with_state) = runs["log of flat"]
    _, (*_, plain) = runs["plain"]
    assert_same(with_state["final_state"], plain["final_state"])
    assert_same(without_state(with_state), info)


CHANGES = {
    FlattenObservationWrapper: (lambda frame: frame.reshape(-1), Box(0, 255, (64 * 64 * 3,), np.uint8)),
    ScaleObservationWrapper: (lambda frame: frame.astype(np.float32) / 255, Box(0, 1, (64, 64, 3), np.float32)),
}


@pytest.mark.parametrize("wrapper", CHANGES)
def test_changed_observations(wrapper: Any, runs: dict[str, Any], game: tuple[Any, Any]) -> None:
    change, space = CHANGES[wrapper]
    env, params = game
    wrapped = wrapper(env)
    (obs, start), (frames, *rest) = runs["plain"]
    (its_obs, its_start), (its_frames, *its_rest) = runs[wrapper.__name__]
    assert_same(jax.vmap(change)(obs), its_obs)
    assert_same(jax.vmap(jax.vmap(change))(frames), its_frames)
    assert_same((start, rest), (its_start, its_rest))
    assert wrapped.observation_space() == wrapped.observation_space(params) == space
    assert space.contains(its_obs[0])
    key = jax.random.key(0)
    _, state = env.reset(key)
    for plain, changed in (
        (env.reset_env(key)[0], wrapped.reset_env(key)[0]),
        (env.step_env(key, state, 1)[0], wrapped.step_env(key, state, 1)[0]),
        (env.get_obs(state), wrapped.get_obs(state)),
    ):
        assert_same(change(plain), changed)


def test_scaled_rows(game: tuple[Any, Any]) -> None:
    """What a script feeds an MLP, in either order of the wrappers."""
    env, _ = game
    rows = [
        FlattenObservationWrapper(ScaleObservationWrapper(env)),
        ScaleObservationWrapper(FlattenObservationWrapper(LogWrapper(env))),
    ]
    for wrapped in rows:
        assert wrapped.observation_space() == Box(0, 1, (64 * 64 * 3,), np.float32)
        assert wrapped.observation_space().contains(wrapped.reset(jax.random.key(0))[0])
        with pytest.raises(TypeError, match="env must have observations of uint8 to scale, got float32"):
            ScaleObservationWrapper(wrapped)


def test_stacks(runs: dict[str, Any]) -> None:
    reset, (*step, info) = runs["log of flat"]
    assert_same((reset, *step, without_state(info)), (runs["flat of log"][0], *runs["flat of log"][1]))


@pytest.mark.parametrize("wide", [False, True])
def test_types_do_not_drift(wide: bool) -> None:
    env = LogWrapper(FlattenObservationWrapper(popgym_arcade.make("NavigatorEasy", obs_size=64)[0]))

    def signature(tree: Any) -> Any:
        return [(leaf.shape, leaf.dtype, leaf.weak_type) for leaf in jax.tree.leaves(tree)]

    jax.config.update("jax_enable_x64", wide)
    try:
        key = jax.random.key(0)
        _, start = jax.eval_shape(env.reset, key)
        _, after, _, done, info = jax.eval_shape(env.step, key, start, jax.ShapeDtypeStruct((), np.int32))
    finally:
        jax.config.update("jax_enable_x64", False)
    assert signature(after) == signature(start)
    for field in dataclasses.fields(start):
        if field.name != "env_state":
            expected = np.float32 if field.name.endswith("returns") else np.int32
            assert signature(getattr(start, field.name)) == [((), expected, False)]
            if field.name in info:
                assert signature(info[field.name]) == [((), expected, False)]
    assert signature(info["returned_episode"]) == signature(done)


def test_the_rest_passes_through(game: tuple[Any, Any]) -> None:
    env, params = game
    for wrapped in (LogWrapper(env), FlattenObservationWrapper(env), LogWrapper(FlattenObservationWrapper(env))):
        assert (wrapped.name, wrapped.num_actions, wrapped.obs_size) == ("Tiny", 5, 64)
        assert wrapped.action_space(params) == env.action_space()
        assert jax.tree.leaves(wrapped.default_params) == jax.tree.leaves(params)
        assert not wrapped.twin.partial_obs
        assert wrapped.twin.twin == wrapped
    assert LogWrapper(env).observation_space(params) == env.observation_space()
    with pytest.raises(AttributeError, match="nothing"):
        _ = LogWrapper(env).nothing


def test_bootstrapping_from_the_final_state(game: tuple[Any, Any]) -> None:
    env, params = game
    env = LogWrapper(env, keep_final_state=True)
    short = params.replace(max_steps_in_episode=1)
    _, state = env.reset(jax.random.key(0), short)
    _, _, _, done, info = env.step(jax.random.key(1), state, 3, short)
    assert done
    assert info["final_state"].time == 1
    assert env.get_obs(info["final_state"]).shape == (64, 64, 3)


def test_static_arguments() -> None:
    first, second = (LogWrapper(FlattenObservationWrapper(Tiny(obs_size=64))) for _ in range(2))
    assert first == second
    assert hash(first) == hash(second)
    assert first != first.twin
    assert first != LogWrapper(first.env, keep_final_state=True)
    assert LogWrapper(first.env) != FlattenObservationWrapper(first.env)
    traces = []

    def start(env: Any, key: jax.Array) -> Any:
        traces.append(env)
        return env.reset(key)

    compiled = jax.jit(start, static_argnums=0)
    compiled(first, jax.random.key(0))
    compiled(second, jax.random.key(0))
    assert len(traces) == 1
    assert copy.deepcopy(first) == pickle.loads(pickle.dumps(first)) == first


def test_states_can_be_changed() -> None:
    env = LogWrapper(Tiny(obs_size=64))
    _, state = env.reset(jax.random.key(0))
    changed = state.replace(env_state=state.env_state.replace(time=jnp.int32(9)))
    _, _, _, done, info = env.step(jax.random.key(1), changed, 0)
    assert done
    assert info["returned_episode_lengths"] == 1


@pytest.mark.parametrize("wrapper", [LogWrapper, FlattenObservationWrapper, ScaleObservationWrapper])
def test_what_is_no_environment_is_refused(wrapper: Any, game: tuple[Any, Any]) -> None:
    for wrong in (game, "NavigatorEasy", None, 3):
        with pytest.raises(TypeError, match=r"env must be an environment, such as make\(...\)\[0\], got"):
            wrapper(wrong)
    with pytest.raises(TypeError, match="for a batch of keys use jax.vmap"):
        wrapper(game[0]).reset(jax.random.split(jax.random.key(0), 4))
