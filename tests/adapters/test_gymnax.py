"""Our games as gymnax's: the same trajectories, no more drawing, and clients that run on them."""

import copy
import pickle
import subprocess
import sys
import warnings
from typing import Any

import gymnax.wrappers
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnax.environments import environment, spaces
from gymnax.experimental.rollout import RolloutWrapper

import popgym_arcade
from popgym_arcade.adapters.gymnax import make, to_gymnax
from popgym_arcade.wrappers import LogWrapper
from tests.random_play import ENVS, STEPS, roll
from tests.tiny import Tiny


@pytest.fixture(scope="module")
def game() -> tuple[Any, Any]:
    env, params = popgym_arcade.make("NavigatorEasy", partial_obs=True, obs_size=64)
    return env, params.replace(max_steps_in_episode=7)


@pytest.fixture(scope="module")
def tiny() -> tuple[Any, Any]:
    env = Tiny(obs_size=64)
    return env, env.default_params.replace(max_steps_in_episode=7)


@pytest.fixture(scope="module")
def runs(game: tuple[Any, Any]) -> dict[str, Any]:
    env, params = game
    views = {"core": env, "six": to_gymnax(env), "five": to_gymnax(env, values=5)}
    return {name: roll(view, params) for name, view in views.items()}


def assert_same(first: Any, second: Any) -> None:
    assert jax.tree.structure(first) == jax.tree.structure(second)
    for a, b in zip(jax.tree.leaves(first), jax.tree.leaves(second), strict=True):
        assert a.dtype == b.dtype
        assert np.array_equal(a, b)


def test_it_is_one_of_gymnax(game: tuple[Any, Any]) -> None:
    env, params = game
    for adapted in (to_gymnax(env), to_gymnax(env, values=5)):
        assert isinstance(adapted, environment.Environment)
        assert (adapted.name, adapted.num_actions) == ("NavigatorEasy", 5)
        assert_same(adapted.default_params, env.default_params)
        for given in ((), (params,)):
            actions, frames = adapted.action_space(*given), adapted.observation_space(*given)
            assert isinstance(actions, spaces.Discrete)
            assert actions.n == 5
            assert isinstance(frames, spaces.Box)
            assert (frames.low, frames.high, frames.shape, frames.dtype) == (0, 255, (64, 64, 3), np.uint8)
        assert not adapted.supports_transition_gradients


def test_actions_beyond_32_bits_do_nothing(game: tuple[Any, Any]) -> None:
    env, params = game
    _, state = env.reset(jax.random.key(0), params)
    for adapted in (to_gymnax(env), to_gymnax(env, values=5)):
        for step in (adapted.step, adapted.step_env):
            for action in (2**40 + 1, np.int64(2**40 + 1)):
                assert np.array_equal(step(jax.random.key(1), state, action, params)[1].agent, state.agent)


def test_trajectories_are_the_same(runs: dict[str, Any]) -> None:
    assert_same(runs["core"], runs["five"])
    start, (obs, state, reward, done, info) = runs["core"]
    six_start, (six_obs, six_state, six_reward, terminated, truncated, six_info) = runs["six"]
    assert_same((start, obs, state, reward), (six_start, six_obs, six_state, six_reward))
    assert_same((info["terminated"], info["truncated"]), (terminated, truncated))
    assert np.array_equal(done, terminated | truncated)
    assert terminated.any() and truncated.any()
    assert_same(info, {name: value for name, value in six_info.items() if name != "final_observation"})


def test_final_observations(runs: dict[str, Any], game: tuple[Any, Any]) -> None:
    _, (obs, _, _, terminated, truncated, info) = runs["six"]
    done = np.asarray(terminated | truncated)
    draw = jax.jit(jax.vmap(jax.vmap(game[0].get_obs)))
    assert_same(info["final_observation"], draw(info["final_state"]))
    assert np.array_equal(info["final_observation"][~done], obs[~done])
    assert np.any(info["final_observation"][done] != obs[done], axis=(1, 2, 3)).all()


def test_a_final_observation_that_nobody_uses_costs_nothing(game: tuple[Any, Any]) -> None:
    env, params = game
    adapted = to_gymnax(env)
    logged = gymnax.wrappers.LogWrapper(adapted)

    def of_core(key: Any, state: Any, action: Any) -> Any:
        obs, state, reward, _, info = env.step(key, state, action, params)
        return obs, state, reward, info["terminated"], info["truncated"]

    def unused(key: Any, state: Any, action: Any) -> Any:
        return adapted.step(key, state, action, params)[:5]

    def unused_by_the_log(key: Any, state: Any, action: Any) -> Any:
        state = logged.reset(key, params)[1].replace(env_state=state)
        obs, state, *rest, _ = logged.step(key, state, action, params)
        return obs, state.env_state, *rest

    def used(key: Any, state: Any, action: Any) -> Any:
        *rest, info = adapted.step(key, state, action, params)
        return *rest, info["final_observation"]

    def cost(function: Any) -> Any:
        keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), 32))
        _, states = jax.eval_shape(jax.vmap(env.reset), keys)
        actions = jax.ShapeDtypeStruct((32,), np.int32)
        analysis = jax.jit(jax.vmap(function)).lower(keys, states, actions).compile().cost_analysis()
        assert analysis
        return analysis["flops"], analysis["bytes accessed"]

    core = cost(of_core)
    assert cost(unused) == core
    assert cost(unused_by_the_log) == core
    assert cost(used)[1] > 1.5 * core[1]


def test_step_env(game: tuple[Any, Any]) -> None:
    env, params = game
    key = jax.random.key(0)
    _, state = env.reset(key, params)
    last = state.replace(time=jnp.int32(6))
    *expected, done, info = env.step_env(key, last, 0, params)
    *six, terminated, six_info = to_gymnax(env).step_env(key, last, 0, params)
    assert_same((expected, info), (six, six_info))
    assert (done, terminated) == (True, False)
    assert to_gymnax(env).is_truncated(six[1], params)
    assert_same(env.step_env(key, last, 0, params), to_gymnax(env, values=5).step_env(key, last, 0, params))
    assert_same(env.get_obs(state), to_gymnax(env).observe(key, state, None, params))


def test_static_arguments(game: tuple[Any, Any]) -> None:
    env, _ = game
    adapted = to_gymnax(env)
    assert adapted == to_gymnax(env)
    assert hash(adapted) == hash(to_gymnax(env))
    assert adapted != to_gymnax(env.twin)
    assert adapted != to_gymnax(env, values=5)
    assert copy.deepcopy(adapted) == pickle.loads(pickle.dumps(adapted)) == adapted


def test_wrong_arguments(tiny: tuple[Any, Any]) -> None:
    adapt: Any = to_gymnax
    env, _ = tiny
    for wrong in (tiny, "NavigatorEasy", LogWrapper(env), adapt(env), type(env)):
        with pytest.raises(TypeError, match=r"env must be an Environment, such as make\(...\)\[0\], got"):
            adapt(wrong)
    for values in (4, 7, None, "6", True):
        with pytest.raises(ValueError, match="values must be 6, as in gymnax 1.x, or 5, as before, got"):
            adapt(env, values=values)


def test_make() -> None:
    env, params = popgym_arcade.make("NavigatorEasy", partial_obs=True, obs_size=64)
    for options, values in (({}, 5), ({"values": 6}, 6)):
        adapted, its_params = make("NavigatorEasy", partial_obs=True, obs_size=64, **options)
        assert adapted == to_gymnax(env, values)
        assert_same(its_params, params)
    with pytest.raises(ValueError, match="unknown environment 'Navigator'"):
        make("Navigator")
    with pytest.raises(ValueError, match="values must be 6, as in gymnax 1.x, or 5, as before, got 4"):
        make("NavigatorEasy", 4)


@pytest.mark.parametrize("missing", ["gymnax", "six"])
def test_without_gymnax(missing: str) -> None:
    code = f"import sys; sys.modules[{missing!r}] = None; import popgym_arcade.adapters.gymnax"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=120, check=False)
    assert done.stderr.splitlines()[-1] == (
        "ModuleNotFoundError: popgym_arcade.adapters.gymnax needs gymnax: pip install 'popgym-arcade[gymnax]'"
    )


def test_log_wrappers_agree(tiny: tuple[Any, Any]) -> None:
    """Gymnax's log, and ours on the classic convention."""
    env, params = tiny
    _, (*_, state, reward, _, _, info) = roll(gymnax.wrappers.LogWrapper(to_gymnax(env)), params)
    _, (*_, our_state, our_reward, _, our_info) = roll(LogWrapper(to_gymnax(env, values=5)), params)
    assert_same((state.env_state, reward), (our_state.env_state, our_reward))
    for name in ("returned_episode_returns", "returned_episode_lengths", "returned_episode"):
        assert np.allclose(info[name], our_info[name], rtol=0, atol=1e-6)
    assert info["returned_episode_valid"][-1].all()


def test_flatten_and_sticky_and_legacy(game: tuple[Any, Any], runs: dict[str, Any]) -> None:
    env, params = game
    wrapped: Any = gymnax.wrappers.FlattenObservationWrapper(gymnax.wrappers.StickyActionWrapper(to_gymnax(env)))
    (obs, _), (frames, state, *rest, info) = roll(gymnax.wrappers.LegacyStepAPIWrapper(wrapped), params)
    (core_obs, _), (core_frames, core_state, *core_rest, _) = runs["core"]
    assert_same((core_obs.reshape(ENVS, -1), core_frames.reshape(STEPS, ENVS, -1)), (obs, frames))
    assert_same((core_state, core_rest), (state.env_state, rest))
    assert info["final_observation"].shape == frames.shape
    assert wrapped.observation_space(params).shape == frames.shape[2:]


def test_gymnasium(tiny: tuple[Any, Any]) -> None:
    env, params = tiny
    gym: Any = gymnax.wrappers.GymnaxToGymWrapper(to_gymnax(env), params)
    assert gym.observation_space.shape == (64, 64, 3)
    assert gym.observation_space.dtype == np.uint8
    assert gym.action_space.n == 5
    gym.reset(seed=0)
    for time in range(1, 8):
        obs, reward, terminated, truncated, _ = gym.step(gym.action_space.sample())
        assert gym.observation_space.contains(np.asarray(obs))
        assert np.isfinite(reward)
        if terminated:
            break
        assert truncated == (time == 7)


def test_gymnasium_vector(tiny: tuple[Any, Any]) -> None:
    env, params = tiny
    adapted = to_gymnax(env)
    vector = gymnax.wrappers.GymnaxToVectorGymWrapper(adapted, num_envs=3, params=params)
    obs, _ = vector.reset(seed=0)
    assert obs.shape == vector.observation_space.shape == (3, 64, 64, 3)
    obs, reward, terminated, truncated, _ = vector.step(np.array([0, 1, 2]))
    assert obs.shape == (3, 64, 64, 3)
    assert reward.shape == terminated.shape == truncated.shape == (3,)
    assert "step" not in vars(adapted), "the wrapper changes its copy alone"


def test_dm_env(tiny: tuple[Any, Any]) -> None:
    env, params = tiny
    dm = gymnax.wrappers.GymnaxToDmEnvWrapper(to_gymnax(env))
    start = dm.reset(jax.random.key(0), params)
    after = dm.step(jax.random.key(1), start, 3, params)
    assert_same(after.final_observation, env.get_obs(after.state))
    assert after.discount == 1


def test_rollouts(tiny: tuple[Any, Any]) -> None:
    env, _ = tiny
    rollouts = RolloutWrapper(env=to_gymnax(env), env_params={"max_steps_in_episode": 7})
    obs, _, reward, _, done, total = rollouts.batch_rollout(jax.random.split(jax.random.key(0), ENVS), None)
    assert obs.shape == (ENVS, 7, 64, 64, 3)
    assert done.any(axis=1).all(), "the clock ends what goes on for 7 steps"
    assert reward.shape == (ENVS, 7)
    assert total.shape == (ENVS, 1)


def test_stoa() -> None:
    """Stoix wraps what `make` returns in this way."""
    stoa = pytest.importorskip("stoa", reason="stoa-env is not installed")
    core, params = popgym_arcade.make("NavigatorEasy", obs_size=64)
    params = params.replace(max_steps_in_episode=7)
    bare = stoa.GymnaxToStoa(make("NavigatorEasy", obs_size=64)[0], params)
    assert bare.observation_space() == stoa.BoundedArraySpace((64, 64, 3), np.uint8, minimum=0, maximum=255)
    assert bare.action_space() == stoa.DiscreteSpace(5, np.int32)
    env = stoa.AutoResetWrapper(stoa.RecordEpisodeMetrics(bare), next_obs_in_extras=True)

    @jax.jit
    def play(key: jax.Array) -> Any:
        def step(state: Any, action: Any) -> Any:
            after, told = env.step(state, action)
            before = state.base_env_state
            return after, (told, core.step(jax.random.split(before.rng_key)[0], before.base_env_state, action, params))

        return jax.lax.scan(step, env.reset(key)[0], jax.random.randint(key, (STEPS,), 0, 5))[1]

    told, (frames, _, reward, done, _) = play(jax.random.key(0))
    assert_same((frames, reward, done), (told.extras["next_obs"], told.reward, told.done()))
    ends = np.flatnonzero(done)
    np.testing.assert_array_equal(told.extras["episode_metrics"]["episode_length"][ends], np.diff(ends, prepend=-1))
    assert len(ends) >= 3


@pytest.mark.parametrize("algorithm", ["ppo", pytest.param("pqn", marks=pytest.mark.slow)])
def test_rejax(algorithm: str) -> None:
    with warnings.catch_warnings():
        # distrax, which rejax imports, imports tensorflow-probability, which uses names that jax is about to drop.
        warnings.filterwarnings("ignore", "jax.* is deprecated", DeprecationWarning)
        rejax = pytest.importorskip("rejax", reason="rejax is not installed")
    env, params = popgym_arcade.make("NavigatorEasy", obs_size=64)
    algo = rejax.get_algo(algorithm).create(
        env=to_gymnax(env, values=5),
        env_params=params.replace(max_steps_in_episode=16),
        num_envs=4,
        num_steps=8,
        num_minibatches=2,
        num_epochs=1,
        total_timesteps=64,
        eval_freq=32,
    )
    train_state, (lengths, returns) = jax.jit(algo.train)(jax.random.key(0))
    assert train_state.global_step == 64
    assert lengths.shape == returns.shape == (3, 128)  # before, and after each 32 steps; rejax plays 128 episodes
    assert np.all((lengths >= 1) & (lengths <= 16))
    assert np.all(np.abs(returns) <= 1)
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(train_state) if jnp.issubdtype(leaf.dtype, jnp.floating))
