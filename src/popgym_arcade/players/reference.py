"""The reference players of the games in this package."""

import functools
import pathlib
from collections.abc import Callable
from typing import Any

import jax.numpy as jnp
import numpy as np

from popgym_arcade.environment import Environment
from popgym_arcade.environments.autoencode import AutoEncode
from popgym_arcade.environments.battleship import BattleShip
from popgym_arcade.environments.breakout import Breakout
from popgym_arcade.environments.cartpole import CartPole
from popgym_arcade.environments.count_recall import CountRecall
from popgym_arcade.environments.minesweeper import MineSweeper
from popgym_arcade.environments.navigator import Navigator
from popgym_arcade.environments.noisy_cartpole import NoisyCartPole
from popgym_arcade.environments.skittles import Skittles
from popgym_arcade.environments.tetris import Tetris
from popgym_arcade.players import balancing, features, hunting, search, sweeping, tracking
from popgym_arcade.players.player import Player

FOUND = pathlib.Path(__file__).parent / "found"
"""The players that searches have found, a file per id."""

_MEMORY_PLAYERS: dict[type, Callable[[Any, Any], Player]] = {
    CartPole: balancing.balancing,
    NoisyCartPole: balancing.balancing,
    CountRecall: tracking.count_recall,
    AutoEncode: tracking.autoencode,
    BattleShip: hunting.battleship,
    MineSweeper: sweeping.minesweeper,
    Navigator: tracking.navigator,
    Breakout: tracking.breakout_player,
    Skittles: tracking.skittles_player,
    Tetris: tracking.tetris,
}


def memory_player(env: Environment[Any, Any], params: Any = None) -> Player:
    """Return the player that remembers all that the frames of a view have shown.

    Args:
        env: the view that it sees.
        params: the parameters of the game, which it knows; `default_params` if left out.

    Raises:
        LookupError: if the game has none, as it is not of this package.
    """
    if type(env) not in _MEMORY_PLAYERS:
        raise LookupError(f"{env.name} has no memory player; games of this package have: {_names()}")
    return _MEMORY_PLAYERS[type(env)](env, env.default_params if params is None else params)


def random_player(env: Environment[Any, Any]) -> Player:
    """Return the player that takes all actions with the same probability."""
    return Player((), lambda key, memory, glimpse: (memory, env.action_space().sample(key)))


def blind_player(env: Environment[Any, Any]) -> Player:
    """Return the player that takes the actions of the best fixed script found, whatever it sees.

    Raises:
        LookupError: if no search has been made for the game.
    """
    return player_of_script(_found(env.name))


def player_of_script(found: dict[str, np.ndarray]) -> Player:
    """Return the blind player that is kept in a file of what was found."""
    return search.blind_player(jnp.asarray(found["script"]))


def memoryless_player(env: Environment[Any, Any]) -> Player:
    """Return the best player found that sees the present frame of the POMDP alone.

    Raises:
        LookupError: if no search has been made for the game.
    """
    return player_of_weights(env, _found(env.name))


def player_of_weights(env: Environment[Any, Any], found: dict[str, np.ndarray]) -> Player:
    """Return the memoryless player that is kept in a file of what was found."""
    weights = {name: jnp.asarray(leaf, jnp.float32) for name, leaf in found.items() if name != "script"}
    return search.memoryless_player(lambda glimpse: search.network(weights, features.features(env, glimpse)))


@functools.cache
def _found(env_id: str) -> dict[str, np.ndarray]:
    path = FOUND / f"{env_id}.npz"
    if not path.exists():
        raise LookupError(
            f"no search for players without memory has been made for {env_id}; games of this package: {_names()}"
        )
    with np.load(path) as file:
        return dict(file)


def _names() -> str:
    return ", ".join(game.__name__ for game in _MEMORY_PLAYERS)
