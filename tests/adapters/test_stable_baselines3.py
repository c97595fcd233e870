"""The batch for Stable-Baselines3 does what its own batches do with single environments, and its algorithms learn on it."""

from typing import Any

import gymnasium
import numpy as np
import pytest

from popgym_arcade.adapters.gymnasium import ArcadeEnv

sb3: Any = pytest.importorskip("stable_baselines3", reason="Stable-Baselines3 (and torch) is not installed")
checker: Any = pytest.importorskip("stable_baselines3.common.env_checker")
vec_env: Any = pytest.importorskip("stable_baselines3.common.vec_env")

from popgym_arcade.adapters.stable_baselines3 import ArcadeVecEnv  # noqa: E402  # needs what is asked for above

pytestmark = pytest.mark.usefixtures("tiny_is_registered")

ENVS, STEPS = 3, 25


def test_it_does_what_their_batches_do() -> None:
    ours: Any = ArcadeVecEnv("Tiny", ENVS, obs_size=64)
    theirs: Any = vec_env.DummyVecEnv([lambda: ArcadeEnv("Tiny", obs_size=64)] * ENVS)
    for envs in (ours, theirs):
        envs.seed(7)
    assert (ours.observation_space, ours.action_space) == (theirs.observation_space, theirs.action_space)
    np.testing.assert_array_equal(ours.reset(), theirs.reset())
    assert ours.reset_infos == theirs.reset_infos
    ends = set()
    for chosen in np.random.default_rng(0).choice(5, (STEPS, ENVS), p=[0.24] * 4 + [0.04]):
        (*mine, infos), (*others, their_infos) = ours.step(chosen), theirs.step(chosen)
        for one, other in zip(mine, others, strict=True):
            np.testing.assert_array_equal(one, other)
            assert one.flags.writeable
        for info, their_info in zip(infos, their_infos, strict=True):
            np.testing.assert_array_equal(info.pop("terminal_observation", 0), their_info.pop("terminal_observation", 0))
            assert info == their_info
        ends |= {info["TimeLimit.truncated"] for info, done in zip(infos, mine[2], strict=True) if done}
    assert ends == {True, False}


def test_the_rest_of_a_vec_env() -> None:
    envs = ArcadeVecEnv("Tiny", 4, obs_size=64, render_mode="rgb_array", max_episode_steps=3)
    first, second = envs.reset(), envs.reset()
    assert first.shape == second.shape == (4, 64, 64, 3)
    image = envs.render()
    assert image is not None and image.shape == (128, 128, 3)
    for _ in range(2):
        envs.step(np.zeros(4, int))
    *_, dones, infos = envs.step(np.zeros(4, int))
    assert dones.all()
    assert all(info["TimeLimit.truncated"] for info in infos)
    assert envs.get_attr("render_mode", indices=1) == ["rgb_array"]
    assert not envs.has_attr("nothing")
    assert envs.env_is_wrapped(gymnasium.Wrapper) == [False] * 4
    with pytest.raises(AttributeError, match="no methods of their own"):
        envs.env_method("action_masks")
    with pytest.raises(AttributeError, match="params cannot be set"):
        envs.set_attr("params", None)
    envs.close()


def test_ppo_learns_on_it() -> None:
    envs = vec_env.VecMonitor(ArcadeVecEnv("Tiny", 4, obs_size=64, partial_obs=True))
    model = sb3.PPO("CnnPolicy", envs, n_steps=16, batch_size=32, n_epochs=1, device="cpu", seed=0)
    model.learn(128)
    assert model.num_timesteps == 128
    assert model.ep_info_buffer[-1]["l"] <= 10


def test_recurrent_ppo_learns_on_it() -> None:
    contrib = pytest.importorskip("sb3_contrib", reason="sb3-contrib is not installed")
    envs = ArcadeVecEnv("Tiny", 4, obs_size=64, partial_obs=True)
    options = {"policy_kwargs": {"lstm_hidden_size": 16}, "device": "cpu", "seed": 0}
    model = contrib.RecurrentPPO("CnnLstmPolicy", envs, n_steps=16, batch_size=32, n_epochs=1, **options)
    model.learn(128)
    assert model.num_timesteps == 128


def test_single_environments() -> None:
    env = gymnasium.make("popgym_arcade/Tiny-v0", partial_obs=True, obs_size=64)
    checker.check_env(env.unwrapped)
    model = sb3.PPO("CnnPolicy", env, n_steps=32, batch_size=16, n_epochs=1, device="cpu", seed=0)
    model.learn(64)
    assert model.num_timesteps == 64
