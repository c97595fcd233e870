"""Our games as Gymnasium's: its checker, its wrappers, its conventions, and the same episodes one by one and in batches."""

import copy
import os
import pathlib
import subprocess
import sys
import warnings
from typing import Any

import gymnasium
import jax
import jax.numpy as jnp
import numpy as np
import pytest
from gymnasium import wrappers
from gymnasium.envs.registration import EnvSpec
from gymnasium.utils.env_checker import check_env
from gymnasium.vector import AutoresetMode, SyncVectorEnv
from gymnasium.vector.utils import batch_space

import popgym_arcade
from popgym_arcade.adapters import gymnasium as adapter
from popgym_arcade.adapters.gymnasium import ArcadeEnv, ArcadeVectorEnv

pytestmark = pytest.mark.usefixtures("tiny_is_registered")

ENVS, STEPS = 3, 25
NEXT, SAME, DISABLED = AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP, AutoresetMode.DISABLED


def actions(seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).choice(5, (STEPS, ENVS), p=[0.24] * 4 + [0.04])


def play(envs: Any, seed: Any = 7) -> list[Any]:
    """What `reset` and STEPS steps return, infos left out."""
    seen = [envs.reset(seed=seed)[:1]]
    for chosen in actions():
        *values, _ = envs.step(jnp.asarray(chosen) if isinstance(seen[0][0], jax.Array) else chosen)
        seen.append(tuple(values))
    return jax.tree.map(np.asarray, seen)


def assert_same(one: list[Any], other: list[Any]) -> None:
    jax.tree.map(np.testing.assert_array_equal, one, other)


@pytest.mark.parametrize(
    "env_id",
    [
        pytest.param(env_id, marks=[] if env_id.endswith("Easy") else pytest.mark.slow)
        for env_id in popgym_arcade.registered_envs
    ],
)
def test_gymnasiums_own_checks(env_id: str) -> None:
    name = f"popgym_arcade/{env_id}-v{popgym_arcade.make(env_id)[0].version}"
    env = gymnasium.make(name, partial_obs=True, obs_size=64, render_mode="rgb_array")
    check_env(env.unwrapped)  # what it warns of is an error here
    assert env.spec is not None
    assert gymnasium.make(env.spec).unwrapped.observation_space == env.observation_space


def test_the_games_are_those_of_the_core() -> None:
    env = ArcadeEnv("NavigatorEasy", partial_obs=True, obs_size=64)
    obs, info = env.reset(seed=3)
    core, params = popgym_arcade.make("NavigatorEasy", partial_obs=True, obs_size=64)
    state = env.state
    np.testing.assert_array_equal(obs, core.get_obs(state))
    assert info == {"score": 0}
    assert info["score"].dtype == np.int32
    for action in (3, 1, 4, 0):
        obs, reward, terminated, truncated, info = env.step(action)
        _, state, expected, _, ends = core.step_env(jax.random.key(0), state, action, params)
        jax.tree.map(np.testing.assert_array_equal, env.state, state)
        np.testing.assert_array_equal(obs, core.get_obs(state))
        assert (reward, terminated, truncated) == (float(expected), ends["terminated"], ends["truncated"])
        assert info == {"score": int(state.score)}
        if terminated:
            break


def test_seeds() -> None:
    env = ArcadeEnv("NavigatorEasy", obs_size=64)
    first, second = env.reset(seed=5)[0], env.reset()[0]
    np.testing.assert_array_equal(env.reset(seed=5)[0], first)
    np.testing.assert_array_equal(env.reset()[0], second)
    assert not np.array_equal(first, second)
    assert not np.array_equal(first, env.reset(seed=6)[0])
    assert not np.array_equal(ArcadeEnv("NavigatorEasy", obs_size=64).reset()[0], env.reset(seed=1 << 70)[0])
    wrongs: tuple[Any, ...] = (-1, 0.5, "a")
    for wrong in wrongs:
        with pytest.raises((ValueError, TypeError, gymnasium.error.Error)):
            env.reset(seed=wrong)


@pytest.mark.parametrize("limit", [None, 6])
@pytest.mark.parametrize("mode", [NEXT, SAME, DISABLED])
def test_a_batch_does_what_gymnasium_does_with_single_environments(mode: AutoresetMode, limit: int | None) -> None:
    env_id, options = "popgym_arcade/Tiny-v0", {"obs_size": 64, "max_episode_steps": limit}
    ours = gymnasium.make_vec(env_id, ENVS, autoreset_mode=mode, **options)
    theirs = SyncVectorEnv([lambda: gymnasium.make(env_id, **options)] * ENVS, autoreset_mode=mode)
    assert isinstance(ours, ArcadeVectorEnv)
    assert ours.metadata["autoreset_mode"] is ours.autoreset_mode is mode
    assert ours.observation_space == theirs.observation_space
    assert ours.action_space == theirs.action_space
    seen = [envs.reset(seed=7) for envs in (ours, theirs)]
    np.testing.assert_array_equal(seen[0][0], seen[1][0])
    ends = np.zeros(ENVS, int)
    for chosen in actions():
        (obs, *mine, infos), (their_obs, *others, their_infos) = ours.step(chosen), theirs.step(chosen)
        assert infos.keys() == their_infos.keys()
        assert infos["score"].dtype == their_infos["score"].dtype == np.int32
        assert_same([obs, *mine, infos["score"]], [their_obs, *others, their_infos["score"]])
        done = mine[1] | mine[2]
        ends += done
        if "final_obs" in infos:
            assert infos["final_obs"].dtype == their_infos["final_obs"].dtype == object
            for name in ("_final_obs", "_final_info", "_score"):
                assert infos[name].dtype == their_infos[name].dtype
            np.testing.assert_array_equal(infos["_final_obs"], done)
            assert [frame is None for frame in infos["final_obs"]] == list(~done)
            for number in np.flatnonzero(done):
                np.testing.assert_array_equal(infos["final_obs"][number], their_infos["final_obs"][number])
            assert infos["final_info"]["score"].dtype == their_infos["final_info"]["score"].dtype
            np.testing.assert_array_equal(infos["final_info"]["score"], their_infos["final_info"]["score"])
        if mode is DISABLED and done.any():
            started, their_start = [envs.reset(options={"reset_mask": done.copy()}) for envs in (ours, theirs)]
            np.testing.assert_array_equal(started[0], their_start[0])
            np.testing.assert_array_equal(started[1]["score"][done], their_start[1]["score"][done])
    assert np.all(ends > 1)
    ours.close()


def test_resets_of_some() -> None:
    envs, again = (ArcadeVectorEnv("Tiny", ENVS, obs_size=64, autoreset_mode="Disabled") for _ in range(2))
    mask = np.array([True, False, False])
    with pytest.raises(gymnasium.error.ResetNeeded, match="the first reset must start all"):
        envs.reset(options={"reset_mask": mask})
    frames, _ = envs.reset(seed=7)
    *_, terminated, truncated, _ = envs.step([4, 0, 0])
    np.testing.assert_array_equal(terminated | truncated, mask)
    with pytest.raises(gymnasium.error.ResetNeeded, match=r"episodes have ended, \[0\]: call reset\(options="):
        envs.step([0, 0, 0])
    obs, _ = envs.reset(seed=7, options={"reset_mask": mask})
    np.testing.assert_array_equal(obs[0], frames[0])
    again.reset(seed=7)
    for chosen in actions()[:5] % 4:  # the first plays its first episode anew, the others go on
        obs, *_ = envs.step(chosen)
        np.testing.assert_array_equal(obs[0], again.step(chosen)[0][0])
    assert list(envs.state.time) == [5, 6, 6]
    wrongs: tuple[Any, ...] = (~mask & mask, mask[:2], mask.astype(int), True)
    for wrong in wrongs:
        with pytest.raises(ValueError, match=r"reset_mask must be bool\[3\], somewhere True, got"):
            envs.reset(options={"reset_mask": wrong})
    in_jax = ArcadeVectorEnv("Tiny", ENVS, obs_size=64, autoreset_mode="Disabled", arrays="jax")
    in_jax.reset(seed=7)
    *_, terminated, truncated, _ = in_jax.step(jnp.array([4, 0, 0]))
    obs, _ = in_jax.reset(options={"reset_mask": terminated | truncated})
    assert isinstance(obs, jax.Array)
    assert list(in_jax.state.time) == [0, 1, 1]


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_jax_arrays_hold_the_same(mode: str) -> None:
    options: dict[str, Any] = {"num_envs": ENVS, "obs_size": 64, "partial_obs": True, "autoreset_mode": mode}
    in_numpy = gymnasium.make_vec("popgym_arcade/Tiny-v0", **options)
    in_jax = gymnasium.make_vec("popgym_arcade/Tiny-v0", arrays="jax", **options)
    assert isinstance(in_jax.reset(seed=7)[0], jax.Array)
    assert_same(play(in_numpy), play(in_jax))
    for envs in (in_numpy, in_jax):
        envs.reset(seed=7)
    infos: dict[str, Any] = {}
    in_device: dict[str, Any] = {}
    for _ in range(10):  # all end by the clock
        *_, infos = in_numpy.step(np.zeros(ENVS, int))
        *_, in_device = in_jax.step(jnp.zeros(ENVS, int))
    if mode == "SameStep":
        assert isinstance(in_device["final_obs"], jax.Array)
        np.testing.assert_array_equal(np.stack(list(infos["final_obs"])), in_device["final_obs"])
        assert_same([infos["final_info"], infos["_final_obs"]], [in_device["final_info"], in_device["_final_obs"]])


def test_batches_are_reproducible() -> None:
    envs = ArcadeVectorEnv("Tiny", ENVS, obs_size=64)
    wrong: Any = 3.0
    seven: Any = np.int64(7)
    assert_same(play(envs), play(envs, seed=[7, 8, 9]))
    one, other = envs.reset()[0], envs.reset(seed=[1, None, 2])[0]
    assert one.shape == other.shape == (ENVS, 64, 64, 3)
    with pytest.raises(ValueError, match="as many as environments, 3, got"):
        envs.reset(seed=[1, 2])
    with pytest.raises(ValueError, match="as many as environments, 3, got"):
        envs.reset(seed=wrong)
    np.testing.assert_array_equal(envs.reset(seed=seven)[0], envs.reset(seed=7)[0])
    with pytest.raises(ValueError, match="seeds must be integers from 0"):
        envs.reset(seed=[1, 2, -3])


@pytest.mark.parametrize("wrong", [5, -1, 0.0, np.float32(1), True, "up", None, [0], np.array([0])])
def test_wrong_actions(wrong: Any) -> None:
    env = ArcadeEnv("Tiny", obs_size=64)
    env.reset(seed=0)
    with pytest.raises(ValueError, match="action must be an integer from 0 to 4"):
        env.step(wrong)
    for right in (0, np.int64(1), np.array(2), jnp.int32(3)):
        env.step(right)


@pytest.mark.parametrize(
    "wrong", [[0, 1], [0, 1, 5], [0, -1, 2], [0.0, 1, 2], 1, np.zeros((ENVS, 1), int), jnp.zeros(ENVS), jnp.zeros(2, int)]
)
def test_wrong_actions_in_batches(wrong: Any) -> None:
    envs = ArcadeVectorEnv("Tiny", ENVS, obs_size=64)
    envs.reset(seed=0)
    with pytest.raises(ValueError, match="actions must be"):
        envs.step(wrong)
    envs.step([0, 1, 4])


def test_the_order_of_calls() -> None:
    env, envs = ArcadeEnv("Tiny", obs_size=64, render_mode="rgb_array"), ArcadeVectorEnv("Tiny", 2, render_mode="rgb_array")
    for call in (env.render, envs.render, lambda: env.step(0), lambda: envs.step([0, 0])):
        with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
            call()
    env.reset(seed=0)
    assert env.step(4)[2]
    with pytest.raises(gymnasium.error.ResetNeeded, match="call reset"):
        env.step(0)


@pytest.mark.parametrize(
    ("options", "complaint"),
    [
        ({"env_id": "Pong"}, "unknown environment"),
        ({"obs_size": 10}, "obs_size"),
        ({"render_mode": "human"}, "render_mode must be None or one of"),
        ({"arrays": "torch"}, "arrays must be one of"),
        ({"num_envs": 0}, "num_envs must be at least 1"),
        ({"autoreset_mode": "Never"}, "autoreset_mode must be one of"),
        ({"max_episode_steps": 0}, "max_episode_steps must be at least 1"),
    ],
)
def test_wrong_options(options: dict[str, Any], complaint: str) -> None:
    with pytest.raises(ValueError, match=complaint):
        ArcadeVectorEnv(**{"env_id": "Tiny", "num_envs": 2, **options})
    if not {"num_envs", "autoreset_mode", "max_episode_steps"} & options.keys():
        with pytest.raises(ValueError, match=complaint):
            ArcadeEnv(**{"env_id": "Tiny", **options})


def test_there_are_no_options_of_reset() -> None:
    for env in (ArcadeEnv("Tiny", obs_size=64), ArcadeVectorEnv("Tiny", 2, obs_size=64)):
        env.reset(options={})
        with pytest.raises(ValueError, match="reset has no options"):
            env.reset(options={"level": 3})
    with pytest.raises(TypeError, match="max_episode_steps must be an int of at least 1, got '5'"):
        ArcadeVectorEnv("Tiny", 2, max_episode_steps="5")  # pyright: ignore[reportArgumentType]


def test_params() -> None:
    _, params = popgym_arcade.make("Tiny")
    short = params.replace(max_steps_in_episode=2)
    for given in (short, {"max_steps_in_episode": 2}):
        env = ArcadeEnv("Tiny", obs_size=64, params=given)
        env.reset(seed=0)
        assert [env.step(0)[3] for _ in range(2)] == [False, True]


@pytest.mark.parametrize("kind", [ArcadeEnv, ArcadeVectorEnv])
def test_wrong_params_are_refused_at_once(kind: Any) -> None:
    with pytest.raises(ValueError, match="NavigatorEasy has the params max_steps_in_episode, .*, not clock"):
        kind("NavigatorEasy", params={"clock": 3})
    with pytest.raises(TypeError, match=r"params.max_steps_in_episode must be int32\[\], got 'long'"):
        kind("NavigatorEasy", params={"max_steps_in_episode": "long"})
    # Tetris' params have all that Skittles asks of its own, and are still another game's.
    with pytest.raises(TypeError, match="params must be a Params, got TetrisParams"):
        kind("SkittlesEasy", params=popgym_arcade.make("TetrisEasy")[1])


@pytest.mark.parametrize("as_mapping", [False, True])
def test_specs_survive_json(as_mapping: bool) -> None:
    _, params = popgym_arcade.make("NavigatorEasy")
    changes: dict[str, Any] = {"max_steps_in_episode": 9, "tnt_reward": -0.1}
    options = {"obs_size": 64, "params": changes if as_mapping else params.replace(**changes)}
    env: Any = gymnasium.make("popgym_arcade/NavigatorEasy-v1", **options)
    envs: Any = gymnasium.make_vec("popgym_arcade/NavigatorEasy-v1", num_envs=2, autoreset_mode=SAME, **options)
    again: Any = gymnasium.make(EnvSpec.from_json(env.spec.to_json())).unwrapped
    batch: Any = gymnasium.make_vec(EnvSpec.from_json(envs.spec.to_json()))
    assert (batch.num_envs, batch.autoreset_mode) == (2, SAME)
    for one in (env.unwrapped, again, batch):
        assert jax.tree.leaves(one.params) == jax.tree.leaves(
            params.replace(max_steps_in_episode=9, tnt_reward=np.float32(-0.1))
        )
        assert one.spec.max_episode_steps == 9
    limited: Any = gymnasium.make_vec("popgym_arcade/NavigatorEasy-v1", max_episode_steps=5, **options)
    assert limited.spec.max_episode_steps == 5


def test_the_spaces_of_a_big_batch_are_small() -> None:
    space: Any = ArcadeVectorEnv("Tiny", 1 << 16).observation_space
    assert space.low.strides[0] == 0
    small = ArcadeVectorEnv("Tiny", 2, obs_size=64)
    assert small.observation_space == batch_space(small.single_observation_space, 2)
    assert small.observation_space.contains(small.observation_space.sample())
    assert copy.deepcopy(small.observation_space) == small.observation_space


def test_render(capsys: pytest.CaptureFixture[str]) -> None:
    env = gymnasium.make("popgym_arcade/Tiny-v0", obs_size=64, render_mode="rgb_array")
    obs, _ = env.reset(seed=0)
    np.testing.assert_array_equal(env.render(), obs)
    envs = gymnasium.make_vec("popgym_arcade/Tiny-v0", num_envs=2, obs_size=64, render_mode="rgb_array")
    obs, _ = envs.reset(seed=0)
    np.testing.assert_array_equal(np.stack(envs.render() or ()), obs)
    assert ArcadeEnv("CartPoleEasy").metadata["render_fps"] == 15
    silent = ArcadeEnv("Tiny")
    silent.reset()
    with pytest.warns(UserWarning, match="nothing to render"):
        assert silent.render() is None


def test_what_a_step_returns_is_fetched_together(monkeypatch: pytest.MonkeyPatch) -> None:
    fetched = []

    def count(*arrays: jax.Array) -> list[np.ndarray]:
        fetched.append(len(arrays))
        return fetch(*arrays)

    fetch = adapter._fetched
    monkeypatch.setattr(adapter, "_fetched", count)
    env, envs = ArcadeEnv("Tiny", obs_size=64), ArcadeVectorEnv("Tiny", 2, obs_size=64)
    for one, chosen in ((env, 0), (envs, np.zeros(2, int))):
        one.reset(seed=0)
        one.step(chosen)
    assert fetched == [2, 5] * 2


def test_gymnasiums_play(monkeypatch: pytest.MonkeyPatch) -> None:
    pygame = pytest.importorskip("pygame", reason="pygame-ce is not installed")
    monkeypatch.setenv("SDL_VIDEODRIVER", "dummy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # it warns where matplotlib finds no display
        from gymnasium.utils.play import play
    env = gymnasium.make("popgym_arcade/Tiny-v0", obs_size=64, render_mode="rgb_array")

    def event(kind: int, key: int) -> Any:
        return pygame.event.Event(kind, key=key)

    frames = iter(
        [
            [event(pygame.KEYDOWN, pygame.K_RIGHT)],
            [event(pygame.KEYUP, pygame.K_RIGHT), event(pygame.KEYDOWN, pygame.K_SPACE)],
            [event(pygame.KEYUP, pygame.K_SPACE), event(pygame.KEYDOWN, pygame.K_ESCAPE)],
        ]
    )
    monkeypatch.setattr(pygame.event, "get", lambda: next(frames))
    seen = []
    play(env, fps=1000, seed=0, wait_on_player=True, callback=lambda *values: seen.append((values[2], values[4])))
    assert seen == [(3, False), (4, True)]


def test_wrappers_of_single_environments(tmp_path: pathlib.Path) -> None:
    def make() -> gymnasium.Env[Any, Any]:
        return gymnasium.make("popgym_arcade/Tiny-v0", obs_size=64, render_mode="rgb_array")

    stacked = wrappers.FrameStackObservation(wrappers.GrayscaleObservation(make()), 4)
    obs, _ = stacked.reset(seed=0)
    assert obs.shape == (4, 64, 64)
    assert stacked.observation_space.contains(stacked.step(0)[0])

    counted = wrappers.RecordEpisodeStatistics(make())
    counted.reset(seed=0)
    rewards = []
    while True:
        _, reward, terminated, truncated, info = counted.step(2)
        rewards.append(reward)
        if terminated or truncated:
            break
    assert info["episode"]["l"] == len(rewards) == 10
    assert info["episode"]["r"] == pytest.approx(sum(rewards))

    pytest.importorskip("moviepy")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of moviepy and its codecs
        filmed = wrappers.RecordVideo(make(), str(tmp_path), episode_trigger=lambda number: True)
        filmed.reset(seed=0)
        filmed.step(0)
        filmed.close()
    assert [path.suffix for path in tmp_path.iterdir()] == [".mp4"]


def test_statistics_of_batches() -> None:
    envs = gymnasium.make_vec("popgym_arcade/Tiny-v0", num_envs=ENVS, obs_size=64)
    counted = wrappers.vector.RecordEpisodeStatistics(envs)
    counted.reset(seed=0)
    total, length, ended = np.zeros(ENVS), np.zeros(ENVS, int), np.zeros(ENVS, bool)
    episodes = 0
    for chosen in actions():
        _, reward, terminated, truncated, infos = counted.step(chosen)
        total, length = np.where(ended, 0, total + reward), np.where(ended, 0, length + 1)
        ended = terminated | truncated
        episodes += ended.sum()
        if ended.any():
            np.testing.assert_allclose(infos["episode"]["r"][ended], total[ended], atol=1e-6)
            np.testing.assert_array_equal(infos["episode"]["l"][ended], length[ended])
    assert counted.episode_count == episodes > ENVS


@pytest.mark.parametrize("mode", ["NextStep", "SameStep"])
def test_wrappers_that_write_into_what_they_are_given(mode: str) -> None:
    envs = gymnasium.make_vec("popgym_arcade/Tiny-v0", num_envs=ENVS, obs_size=64, autoreset_mode=mode)
    clipped = wrappers.vector.ClipReward(envs, 0.0, 0.05)
    clipped.reset(seed=0)
    for chosen in actions():
        assert set(np.unique(clipped.step(chosen)[1])) <= {0, np.float32(0.05)}


def test_torch() -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    pytest.importorskip("array_api_compat", reason="gymnasium[array-api] is not installed")
    envs = gymnasium.make_vec("popgym_arcade/Tiny-v0", num_envs=ENVS, obs_size=64, arrays="jax")
    wrapped = wrappers.vector.JaxToTorch(envs)
    obs, _ = wrapped.reset(seed=7)
    assert (obs.dtype, tuple(obs.shape)) == (torch.uint8, (ENVS, 64, 64, 3))
    again = ArcadeVectorEnv("Tiny", ENVS, obs_size=64)
    np.testing.assert_array_equal(obs.numpy(), again.reset(seed=7)[0])
    chosen = torch.tensor([0, 1, 2])
    np.testing.assert_array_equal(wrapped.step(chosen)[0].numpy(), again.step(chosen.numpy())[0])

    single = wrappers.JaxToTorch(ArcadeEnv("Tiny", obs_size=64, arrays="jax"))
    frame, _ = single.reset(seed=0)
    assert frame.shape == (64, 64, 3)
    plain, _ = single.unwrapped.reset(seed=0)
    # Without a copy, by DLPack: the tensor lies where jax has put the frame.
    assert wrappers.jax_to_torch.jax_to_torch(plain).data_ptr() == plain.unsafe_buffer_pointer()
    assert single.step(torch.tensor(1))[0].shape == (64, 64, 3)


@pytest.mark.parametrize("mode", ["SameStep", "Disabled"])
def test_torchrl(mode: str) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # those of torch's own modules
        libs = pytest.importorskip("torchrl.envs", reason="TorchRL (and torch) is not installed")
        utils = pytest.importorskip("torchrl.envs.utils")
        envs = gymnasium.make_vec("popgym_arcade/Tiny-v0", num_envs=2, obs_size=64, autoreset_mode=mode)
        wrapped = libs.GymWrapper(envs)
        utils.check_env_specs(wrapped)
        played = wrapped.rollout(STEPS, break_when_any_done=False)
    assert played.shape == (2, STEPS)
    assert played["next", "done"].any(1).all()
    wrapped.close()


@pytest.mark.slow
def test_the_newest_gymnasium(tmp_path: pathlib.Path) -> None:
    """gymnax 1.0 holds Gymnasium below 1.4 where these tests run, and not where users have the extra `gymnasium` alone."""
    pip = [sys.executable, "-m", "pip", "install", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command = [*pip, "--target", str(tmp_path), "gymnasium"]
    installed = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    if installed.returncode != 0:
        pytest.skip(f"pip cannot install the newest Gymnasium: {installed.stderr.strip().splitlines()[-1]}")
    code = "import sys, gymnasium, pytest\nassert gymnasium.__file__.startswith(sys.argv[1])\n"
    code += "sys.exit(pytest.main(sys.argv[2:]))"
    path = os.pathsep.join([str(tmp_path), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-c", code, str(tmp_path), "-q", "-p", "no:cacheprovider", __file__],
        capture_output=True,
        text=True,
        timeout=600,
        check=False,
        env={**os.environ, "PYTHONPATH": path},
    )
    assert done.returncode == 0, done.stdout + done.stderr
