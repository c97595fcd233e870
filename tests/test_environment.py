"""What all games share, on one of them."""

import inspect
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import popgym_arcade
from popgym_arcade.environment import percent
from popgym_arcade.wrappers import FlattenObservationWrapper


@pytest.fixture(scope="module")
def game() -> tuple[Any, Any]:
    return popgym_arcade.make("NavigatorEasy", partial_obs=True, obs_size=64)


def test_public_names(game: tuple[Any, Any]) -> None:
    env, params = game
    obs, state = env.reset(jax.random.key(0), params)
    obs, state, reward, done, info = env.step(jax.random.key(1), state, 0, params)
    assert (obs.shape, obs.dtype) == ((64, 64, 3), np.uint8)
    assert (reward.shape, reward.dtype) == ((), np.float32)
    assert (done.shape, done.dtype) == ((), bool)
    assert sorted(info) == ["discount", "final_state", "terminated", "truncated"]
    assert (env.partial_obs, env.obs_size, env.name, env.num_actions) == (True, 64, "NavigatorEasy", 5)
    assert env.default_params.max_steps_in_episode == env.max_steps_in_episode == 64
    assert (state.time, state.score) == (1, -1)
    for method, names in {
        env.reset: ["key", "params"],
        env.reset_env: ["key", "params"],
        env.step: ["key", "state", "action", "params"],
        env.step_env: ["key", "state", "action", "params"],
        env.get_obs: ["state", "params"],
        env.action_space: ["params"],
        env.observation_space: ["params"],
    }.items():
        assert [name for name in inspect.signature(method).parameters if name != "self"] == names


def test_params_may_be_left_out(game: tuple[Any, Any]) -> None:
    env, params = game
    key = jax.random.key(3)
    for with_params, without in (
        (env.reset(key, params), env.reset(key)),
        (env.step(key, env.reset(key)[1], 3, params), env.step(key, env.reset(key)[1], 3)),
    ):
        assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (with_params, without)), strict=True))


def test_old_and_new_keys_agree(game: tuple[Any, Any]) -> None:
    env, _ = game
    for new, old in zip(
        jax.tree.leaves(env.reset(jax.random.key(5))), jax.tree.leaves(env.reset(jax.random.PRNGKey(5))), strict=True
    ):
        assert np.array_equal(new, old)


def test_equal_environments_share_a_compile() -> None:
    first, _ = popgym_arcade.make("MineSweeperEasy", obs_size=65)
    second, _ = popgym_arcade.make("MineSweeperEasy", obs_size=65)
    assert first == second
    assert hash(first) == hash(second)
    assert first != second.twin
    traces = []

    def reset(env: Any, key: jax.Array) -> Any:
        traces.append(env)
        return env.reset(key)

    compiled = jax.jit(reset, static_argnums=0)
    compiled(first, jax.random.key(0))
    compiled(second, jax.random.key(0))
    assert len(traces) == 1
    pickled = pickle.dumps(first)
    assert len(pickled) < 1_000
    assert pickle.loads(pickled) == first


def test_vmap_over_params(game: tuple[Any, Any]) -> None:
    env, params = game
    limits = jnp.array([1, 2, 3], jnp.int32)
    batch = jax.tree.map(lambda leaf: jnp.broadcast_to(leaf, (3,)), params).replace(max_steps_in_episode=limits)
    keys = jax.random.split(jax.random.key(0), 3)
    _, state = jax.vmap(env.reset)(keys, batch)
    step = jax.jit(jax.vmap(env.step_env, in_axes=(0, 0, 0, 0)))
    for time in range(1, 4):
        _, state, _, _, info = step(keys, state, jnp.full(3, 5), batch)
        assert np.array_equal(info["truncated"], limits <= time)


def test_types_of_params_do_not_spread(game: tuple[Any, Any]) -> None:
    env, params = game
    wide = params.replace(max_steps_in_episode=np.uint8(8), clock_reward=np.float64(-0.5), treasure_reward=1)
    _, state = env.reset(jax.random.key(0), wide)
    _, state, _, _, _ = env.step(jax.random.key(0), state, 5, wide)
    reward = env.step(jax.random.key(0), state, 5, wide)[2]
    assert reward.dtype == np.float32
    assert reward == np.float32(-0.0625)


@pytest.mark.parametrize("clock", [np.nan, 7.0, True, np.bool_(True), np.float32(7)])
def test_clocks_are_integers(game: tuple[Any, Any], clock: Any) -> None:
    env, params = game
    _, state = env.reset(jax.random.key(0))
    wrong = params.replace(max_steps_in_episode=clock)
    for call in (lambda: env.reset(jax.random.key(0), wrong), lambda: env.step(jax.random.key(0), state, 0, wrong)):
        with pytest.raises(TypeError, match=r"params.max_steps_in_episode must be int32\[\], got (float32|bool)"):
            call()


@pytest.mark.parametrize("env_id", [name for name in popgym_arcade.registered_envs if name.endswith("Easy")])
def test_wide_types_change_nothing(env_id: str) -> None:
    """With jax_enable_x64, states and frames have the same types and values."""

    def play() -> Any:
        env, _ = popgym_arcade.make(env_id, obs_size=64)
        _, state = env.reset(jax.random.key(0))
        obs, after, reward, done, info = env.step_env(jax.random.key(1), state, 4)
        return jax.tree.map(np.asarray, (state, obs, after, reward, done, info))

    narrow = jax.tree.leaves(play())
    jax.config.update("jax_enable_x64", True)
    try:
        wide = jax.tree.leaves(play())
    finally:
        jax.config.update("jax_enable_x64", False)
    for a, b in zip(narrow, wide, strict=True):
        assert a.dtype == b.dtype
        assert np.allclose(a, b, rtol=0, atol=1e-5 if a.dtype == np.float32 else 0)


@pytest.mark.parametrize("env_id", [name for name in popgym_arcade.registered_envs if name.endswith("Easy")])
def test_ranks_are_not_promoted(env_id: str) -> None:
    with jax.numpy_rank_promotion("raise"):
        env, params = popgym_arcade.make(env_id, obs_size=64)
        key = jax.random.key(0)
        for view in (env, env.twin):
            _, state = jax.eval_shape(view.reset, key)
            jax.eval_shape(view.step, key, state, 1)
            jax.eval_shape(view.glimpse, state)
        jax.eval_shape(env.expert_action, key, state, params)
        jax.eval_shape(env.best_return, state, params)


def test_scan_over_step(game: tuple[Any, Any]) -> None:
    env, _ = game
    _, state = env.reset(jax.random.key(0))

    def body(state: Any, key: jax.Array) -> Any:
        obs, state, reward, done, _ = env.step(key, state, jax.random.randint(key, (), 0, 5))
        return state, (obs, reward, done)

    _, (obs, reward, done) = jax.jit(lambda s: jax.lax.scan(body, s, jax.random.split(jax.random.key(1), 100)))(state)
    assert obs.shape == (100, 64, 64, 3)
    assert reward.shape == done.shape == (100,)
    assert done.any()


def test_views_share_states(game: tuple[Any, Any]) -> None:
    env, _ = game
    _, state = env.reset(jax.random.key(0))
    for time in range(6):
        view = env if time % 2 else env.twin
        obs, state, _, _, _ = view.step(jax.random.key(time), state, time % 4)
        assert np.array_equal(obs, view.get_obs(state))
    assert not np.array_equal(env.get_obs(state), env.twin.get_obs(state))


@pytest.mark.parametrize("action", [-1, 5, 1000, -(2**31), 2**31 - 1])
def test_other_integers_do_nothing(game: tuple[Any, Any], action: int) -> None:
    env, _ = game
    _, state = env.reset(jax.random.key(0))
    _, after, _, _, _ = env.step_env(jax.random.key(1), state, action)
    assert np.array_equal(after.agent, state.agent)
    assert after.time == 1


@pytest.mark.parametrize("action", [2**40, 2**40 + 1, -(2**40), np.int64(2**40 + 1), np.array(2**32 + 1), np.uint64(2**63)])
def test_integers_beyond_32_bits_do_nothing(game: tuple[Any, Any], action: Any) -> None:
    env, _ = game
    _, state = env.reset(jax.random.key(0))
    expected = env.step_env(jax.random.key(1), state, 5)[1]
    for step in (env.step, env.step_env, FlattenObservationWrapper(env).step):
        after = step(jax.random.key(1), state, action)[1]
        assert all(np.array_equal(a, b) for a, b in zip(*map(jax.tree.leaves, (after, expected)), strict=True))


@pytest.mark.parametrize("dtype", [np.uint8, np.int8, np.int64, np.uint32])
def test_integer_types_of_actions(game: tuple[Any, Any], dtype: Any) -> None:
    env, _ = game
    _, state = env.reset(jax.random.key(0))
    expected = env.step_env(jax.random.key(1), state, 1)[1].agent
    assert np.array_equal(env.step_env(jax.random.key(1), state, dtype(1))[1].agent, expected)


@pytest.mark.parametrize("action", [1.0, True, np.zeros(3, np.int32), np.float32(2)])
def test_actions_of_other_types_are_refused(game: tuple[Any, Any], action: Any) -> None:
    env, _ = game
    _, state = env.reset(jax.random.key(0))
    with pytest.raises(TypeError, match="action must be an integer scalar from 0 to 4"):
        env.step(jax.random.key(1), state, action)


@pytest.mark.parametrize("key", [0, np.uint32(3), np.zeros(2, np.float32), "key"])
def test_what_is_no_key_is_refused(game: tuple[Any, Any], key: Any) -> None:
    env, _ = game
    with pytest.raises(TypeError, match=r"key|JAX type"):
        env.reset(key)


def test_batches_without_vmap_are_refused(game: tuple[Any, Any]) -> None:
    env, _ = game
    for make_keys in (jax.random.key, jax.random.PRNGKey):
        with pytest.raises(TypeError, match="for a batch of keys use jax.vmap"):
            env.reset(jax.random.split(make_keys(0), 4))


def test_wrong_states_are_refused(game: tuple[Any, Any]) -> None:
    env, params = game
    other, _ = popgym_arcade.make("BattleShipEasy", obs_size=64)
    _, state = other.reset(jax.random.key(0))
    with pytest.raises(TypeError, match="state must be a NavigatorState"):
        env.step(jax.random.key(0), state, 0, params)
    with pytest.raises(TypeError, match="state must be a NavigatorState"):
        env.get_obs(state)
    with pytest.raises(TypeError, match="for a batch of states use jax.vmap"):
        env.get_obs(jax.tree.map(lambda leaf: leaf[None], env.reset(jax.random.key(0))[1]))
    with pytest.raises(TypeError, match="for a batch of params use jax.vmap"):
        env.reset(jax.random.key(0), params.replace(max_steps_in_episode=np.ones(3, np.int32)))
    with pytest.raises(TypeError, match="state must be a NavigatorState"):
        env.get_obs(np.zeros(3))
    with pytest.raises(TypeError, match="in NavigatorEasy, got .*12"):
        env.get_obs(popgym_arcade.make("NavigatorHard")[0].reset(jax.random.key(0))[1])
    with pytest.raises(TypeError, match="params.clock_reward must be float32"):
        env.reset(jax.random.key(0), params.replace(clock_reward=None))
    with pytest.raises(TypeError, match="params must be a NavigatorParams"):
        env.reset(jax.random.key(0), other.default_params)


@pytest.mark.parametrize(
    ("total", "expected"),
    [(0, 0), (1, 100), (-1, -100), (0.125, 12), (0.375, 38), (-0.125, -12), (0.0749, 7), (9 * np.float32(2 / 144), 12)],
)
def test_percent(total: float, expected: int) -> None:
    assert percent(total) == expected
