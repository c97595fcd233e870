"""Players that see frames and may remember them, and how they play."""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax

from popgym_arcade import experts
from popgym_arcade.environment import Environment

Act = Callable[[jax.Array, Any, Any], tuple[Any, jax.Array]]


class Player(NamedTuple):
    """A player that is given glimpses, `env.glimpse(state)`, and never a state. Fit for jit and vmap."""

    memory: Any
    """Its memory before its first glimpse: a pytree of arrays, `()` if it never remembers anything."""
    act: Act
    """(key, memory, glimpse) -> (memory, action int32[]); the memory keeps its shapes and dtypes."""


def play(env: Environment[Any, Any], player: Player, key: jax.Array, params: Any = None) -> experts.Episode:
    """Let a player play one episode to its end, without drawing it. Fit for jit and vmap.

    Args:
        env: the view that the player sees.
        player: who plays.
        key: one JAX random key. The same key gives the same start, whoever plays.
        params: the parameters of the game, `default_params` if left out.
    """

    def act(key: jax.Array, memory: Any, state: Any, params: Any) -> tuple[Any, jax.Array]:
        return player.act(key, memory, env.glimpse(state))

    return experts.play_with_memory(env, player.memory, act, key, params)
