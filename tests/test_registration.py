from typing import Any

import jax
import numpy as np
import pytest

import popgym_arcade
from popgym_arcade import registration
from popgym_arcade.environments.navigator import Navigator

GAMES = (
    "CartPole",
    "NoisyCartPole",
    "CountRecall",
    "AutoEncode",
    "BattleShip",
    "MineSweeper",
    "Navigator",
    "Breakout",
    "Skittles",
    "Tetris",
)


def test_ids() -> None:
    expected = [game + difficulty for game in GAMES for difficulty in ("Easy", "Medium", "Hard")]
    assert isinstance(popgym_arcade.registered_envs, tuple)
    assert set(expected) <= set(popgym_arcade.registered_envs)
    for env_id in popgym_arcade.registered_envs:
        env, params = popgym_arcade.make(env_id)
        assert env.name == env_id
        assert (env.partial_obs, env.obs_size) == (False, 128)
        assert params.max_steps_in_episode == env.default_params.max_steps_in_episode


@pytest.mark.parametrize(
    ("wrong", "close"),
    [
        ("BattleshipEasy", "BattleShipEasy"),
        ("navigatorhard", "NavigatorHard"),
        ("CartPole-v1", "CartPoleEasy"),
        ("Pong", "did you mean [A-Za-z]+, [A-Za-z]+ or [A-Za-z]+[?]$"),
    ],
)
def test_unknown_names(wrong: str, close: str) -> None:
    with pytest.raises(ValueError, match=f"unknown environment.*{close}"):
        popgym_arcade.make(wrong)


@pytest.mark.parametrize("obs_size", [0, 63, 513, -128])
def test_sizes_not_offered(obs_size: int) -> None:
    with pytest.raises(ValueError, match=f"obs_size must be from 64 to 512, got {obs_size}"):
        popgym_arcade.make("NavigatorEasy", obs_size=obs_size)


@pytest.mark.parametrize("obs_size", [128.0, "128", None, True, (128, 128)])
def test_sizes_of_other_types(obs_size: Any) -> None:
    with pytest.raises(TypeError, match="obs_size must be an int from 64 to 512"):
        popgym_arcade.make("NavigatorEasy", obs_size=obs_size)


@pytest.mark.parametrize("partial_obs", [1, "True", None, 0])
def test_views_of_other_types(partial_obs: Any) -> None:
    with pytest.raises(TypeError, match="partial_obs must be True or False"):
        popgym_arcade.make("NavigatorEasy", partial_obs=partial_obs)


def test_numpy_scalars() -> None:
    make: Any = popgym_arcade.make
    env, _ = make("NavigatorEasy", partial_obs=True, obs_size=64)
    assert make("NavigatorEasy", partial_obs=np.True_, obs_size=np.int64(64))[0] == env


def test_other_arguments() -> None:
    make: Any = popgym_arcade.make
    with pytest.raises(TypeError, match="partial"):
        make("NavigatorEasy", partial=True)
    with pytest.raises(TypeError, match="positional"):
        make("NavigatorEasy", True)
    with pytest.raises(TypeError, match="env_id must be a string"):
        make(3)
    with pytest.raises(ValueError, match="difficulty must be one of"):
        Navigator(difficulty="Impossible")


def test_register(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(registration, "_constructors", dict(registration._constructors))

    class Shortcut(Navigator):
        """A user's game."""

    popgym_arcade.register("Shortcut-v0", Shortcut)
    assert popgym_arcade.registered_envs[-1] == "Shortcut-v0"
    env, _ = popgym_arcade.make("Shortcut-v0", partial_obs=True, obs_size=64)
    assert env.reset(jax.random.key(0))[0].shape == (64, 64, 3)
    assert env.name == "ShortcutEasy"

    register: Any = popgym_arcade.register
    with pytest.raises(ValueError, match="registered already"):
        register("Shortcut-v0", Shortcut)
    with pytest.raises(ValueError, match="empty"):
        register("", Shortcut)
    with pytest.raises(TypeError, match="string"):
        register(1, Shortcut)
    with pytest.raises(TypeError, match="callable"):
        register("Other-v0", Shortcut())
