"""What the tests of players on boards share."""

from typing import Any

import jax
import jax.numpy as jnp

from popgym_arcade import players
from popgym_arcade.environment import Environment


def last_states(env: Environment[Any, Any], episodes: int) -> Any:
    """Let the memory player of a game play, and return the states in which the episodes end."""
    player = players.memory_player(env)

    def turn(carry: Any) -> Any:
        state, memory, _ = carry
        memory, action = player.act(jax.random.key(0), memory, env.glimpse(state))
        _, state, _, done, _ = env.step_env(jax.random.key(0), state, action)
        return state, memory, done

    def play(key: jax.Array) -> Any:
        _, state = env.reset(key)
        return jax.lax.while_loop(lambda carry: ~carry[-1], turn, (state, player.memory, jnp.zeros((), bool)))[0]

    return jax.jit(jax.vmap(play))(jax.random.split(jax.random.key(1), episodes))
