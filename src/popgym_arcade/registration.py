"""From names to games: `make`, `register`, and the list of what there is."""

import functools
from collections.abc import Callable
from typing import Any

from popgym_arcade import checks, environments
from popgym_arcade.environment import LEVELS, Environment

Constructor = Callable[..., Environment[Any, Any]]

_constructors: dict[str, Constructor] = {}


def register(env_id: str, constructor: Constructor) -> None:
    """Make `make(env_id, ...)` build an environment.

    Args:
        env_id: the new name.
        constructor: called as `constructor(partial_obs=..., obs_size=...)`; an `Environment` subclass will do.

    Raises:
        TypeError: if `env_id` is not a string or `constructor` cannot be called.
        ValueError: if the name is empty or taken.
    """
    if not isinstance(env_id, str):
        raise TypeError(f"env_id must be a string, got {env_id!r}")
    if not callable(constructor):
        raise TypeError(f"constructor must be callable, got {constructor!r}")
    if not env_id:
        raise ValueError("env_id must not be empty")
    if env_id in _constructors:
        raise ValueError(f"{env_id!r} is registered already")
    _constructors[env_id] = constructor


def registered() -> tuple[str, ...]:
    """Return the names that `make` knows, in order of registration."""
    return tuple(_constructors)


def by_game() -> dict[str, list[str]]:
    """Return the names that `make` knows by game, which is the name without its difficulty, in order of registration."""
    games: dict[str, list[str]] = {}
    for name in _constructors:
        game = name
        for level in LEVELS:
            game = game.removesuffix(level)
        games.setdefault(game, []).append(name)
    return games


def make(env_id: str, *, partial_obs: bool = False, obs_size: int = 128) -> tuple[Environment[Any, Any], Any]:
    """Build a game.

    Args:
        env_id: one of `registered_envs`, e.g. "BattleShipEasy".
        partial_obs: False for the MDP view, True for its partially observable twin.
        obs_size: height and width of the frames in pixels, any integer from 64 to 512.

    Returns:
        (environment, its default params).

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the name is unknown (the error names the closest ones) or the size is not offered.
    """
    if not isinstance(env_id, str):
        raise TypeError(f"env_id must be a string, got {env_id!r}")
    env = _constructors[checks.one_of("environment", env_id, _constructors)](partial_obs=partial_obs, obs_size=obs_size)
    return env, env.default_params


def other_rules(env_id: str, version: int | None) -> str:
    """Say which rules of a game something was made under, if they are not today's: "" if they are, or nobody knows.

    Args:
        env_id: a name; nothing is known of one that is not registered.
        version: of the rules, `Environment.version`; None for today's.
    """
    if version is None or env_id not in _constructors or version == (today := make(env_id)[0].version):
        return ""
    return f"version {version} of the rules of {env_id}, not {today}, today's"


for _game in environments.GAMES:
    for _difficulty in _game.difficulties:
        register(_game.__name__ + _difficulty, functools.partial(_game, difficulty=_difficulty))
