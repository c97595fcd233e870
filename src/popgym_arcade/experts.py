"""Players that win by looking at the state: teachers, upper bounds, and proof that every episode can be won.

Each game's expert stands in the game's own file, beside the rules that it exploits.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from popgym_arcade.environment import Environment

Policy = Callable[[jax.Array, Any, Any], jax.Array]
"""(key, state, params) -> action, int32[]: fit for jit and vmap."""


class Episode(NamedTuple):
    """The result of an episode."""

    total: jax.Array
    """The undiscounted return, float32[]."""
    length: jax.Array
    """Steps taken, int32[]."""
    terminated: jax.Array
    """Whether the rules ended it, bool[]."""
    truncated: jax.Array
    """Whether the clock did and the rules did not, bool[]."""


def expert(env: Environment[Any, Any]) -> Policy:
    """Return the game's expert.

    Args:
        env: either view of a game.

    Returns:
        (key, state, params) -> action, int32[]. It reads the state, hidden parts included, and never draws.

    Raises:
        LookupError: if the game has no expert.
    """
    if type(env).expert_action is Environment.expert_action:
        raise LookupError(f"{env.name} has no expert: it does not define expert_action")
    return env.expert_action


def random_player(env: Environment[Any, Any]) -> Policy:
    """Return a player that takes all actions with the same probability."""
    return lambda key, state, params: env.action_space(params).sample(key)


def play(env: Environment[Any, Any], policy: Policy, key: jax.Array, params: Any = None) -> Episode:
    """Play one episode to its end, without drawing it. Fit for jit and vmap.

    Args:
        env: either view of a game; the episode is the same.
        policy: (key, state, params) -> action.
        key: one JAX random key.
        params: the parameters of the game, `default_params` if left out.
    """
    return play_with_memory(env, (), lambda key, memory, *seen: (memory, policy(key, *seen)), key, params)


def play_with_memory(
    env: Environment[Any, Any],
    memory: Any,
    act: Callable[[jax.Array, Any, Any, Any], tuple[Any, jax.Array]],
    key: jax.Array,
    params: Any = None,
) -> Episode:
    """Play one episode as `play` does, with a policy that keeps a memory.

    Args:
        env: either view of a game; the episode is the same.
        memory: what the policy remembers at the start, a pytree of arrays.
        act: (key, memory, state, params) -> (memory, action); it keeps the memory's shapes and dtypes.
        key: one JAX random key.
        params: the parameters of the game, `default_params` if left out.
    """
    params = env.default_params if params is None else params
    key_start, key_play = jax.random.split(key)
    _, state = env.reset(key_start, params)
    no = jnp.zeros((), bool)

    def goes_on(carry: tuple[Any, Any, Episode]) -> jax.Array:
        episode = carry[-1]
        return ~(episode.terminated | episode.truncated)

    def turn(carry: tuple[Any, Any, Episode]) -> tuple[Any, Any, Episode]:
        state, memory, episode = carry
        key_action, key_step = jax.random.split(jax.random.fold_in(key_play, episode.length))
        memory, action = act(key_action, memory, state, params)
        _, state, reward, _, info = env.step_env(key_step, state, action, params)
        episode = Episode(episode.total + reward, episode.length + 1, info["terminated"], info["truncated"])
        return state, memory, episode

    start = Episode(jnp.zeros((), jnp.float32), jnp.zeros((), jnp.int32), no, no)
    return jax.lax.while_loop(goes_on, turn, (state, memory, start))[-1]
