"""Our games as environments of gymnax 1.x, for its wrappers and for libraries built on it, such as rejax and Stoix."""

import dataclasses
from typing import Any

import jax
import numpy as np
from jax.typing import ArrayLike

from popgym_arcade import registration
from popgym_arcade.environment import Environment, compiled_step

try:
    from gymnax.environments import environment, spaces
except ModuleNotFoundError as error:  # gymnax itself, or six, which gymnax 1.0.1 needs and does not declare
    raise ModuleNotFoundError("popgym_arcade.adapters.gymnax needs gymnax: pip install 'popgym-arcade[gymnax]'") from error


# Not frozen: gymnax's wrapper for vectors of environments sets attributes of its copy.
@dataclasses.dataclass(unsafe_hash=True)
class GymnaxEnvironment(environment.Environment[Any, Any]):
    """One of our environments in gymnax's clothes, made by `make` or `to_gymnax`.

    States, params, keys and trajectories are those of the environment inside, bit for bit. Equal ones are one static
    argument of `jax.jit`.
    """

    env: Environment[Any, Any]
    """The environment inside."""
    values: int
    """The number of values that `step` returns, 5 or 6."""

    @property
    def default_params(self) -> Any:
        """The parameters of the game, as the rules state them."""
        return self.env.default_params

    def reset_env(self, key: jax.Array, params: Any) -> tuple[jax.Array, Any]:
        """Start an episode: (observation uint8[obs_size, obs_size, 3], state)."""
        return self.env.reset(key, params)

    @compiled_step
    def step(  # pyright: ignore[reportIncompatibleVariableOverride]  (gymnax compiles its own otherwise)
        self, key: jax.Array, state: Any, action: ArrayLike, params: Any = None
    ) -> Any:
        """Take one step; where it ends the episode, return the next episode's first observation and state.

        Args:
            key: one JAX random key.
            state: the state to start from.
            action: int[], 0 up, 1 down, 2 left, 3 right, 4 fire.
            params: the parameters of the game, `default_params` if left out.

        Returns:
            with six values (observation, state, reward float32[], terminated bool[], truncated bool[], info), where
            info is that of the environment inside and `final_observation`, the observation before any reset; a jitted
            function that does not use it does not draw it. With five values, what the environment inside returns:
            (observation, state, reward, done bool[], info).
        """
        # gymnax's own `step` would split the key once more, and draw the final frame and the first one each time.
        obs, state, reward, done, info = self.env.step(key, state, action, params)
        if self.values == 5:
            return obs, state, reward, done, info
        info = {**info, "final_observation": self.env.get_obs(info["final_state"])}
        return obs, state, reward, info["terminated"], info["truncated"], info

    def step_env(self, key: jax.Array, state: Any, action: ArrayLike, params: Any = None) -> Any:
        """Take one step without automatic reset: (observation, state, reward, terminated, info).

        With five values the fourth is done, as in gymnax 0.0.x; else ask `is_truncated(state, params)`, too.
        """
        obs, state, reward, done, info = self.env.step_env(key, state, action, params)
        return obs, state, reward, done if self.values == 5 else info["terminated"], info

    def get_obs(self, state: Any, params: Any = None, key: jax.Array | None = None) -> jax.Array:
        """Draw a state: uint8[obs_size, obs_size, 3]."""
        return self.env.get_obs(state, params)

    @property
    def name(self) -> str:
        """The name of the game with its difficulty, e.g. `BattleShipEasy`."""
        return self.env.name

    @property
    def num_actions(self) -> int:
        """The number of actions, 5 in every game."""
        return self.env.num_actions

    def action_space(self, params: Any = None) -> spaces.Discrete:
        """Return gymnax's `Discrete(5)`."""
        return spaces.Discrete(self.env.action_space(params).n)

    def observation_space(self, params: Any = None) -> spaces.Box:
        """Return gymnax's space of all uint8[obs_size, obs_size, 3]."""
        space = self.env.observation_space(params)
        return spaces.Box(space.low, space.high, space.shape, np.dtype(space.dtype))


def make(env_id: str, values: int = 5, **options: Any) -> tuple[GymnaxEnvironment, Any]:
    """Build a game as an environment of gymnax, for what calls `make` and expects gymnax's own spaces, such as Stoix.

    Args:
        env_id: a name that `popgym_arcade.make` knows, e.g. "BattleShipEasy".
        values: how many values `step` returns, 5 or 6, see `to_gymnax`; stoa's `GymnaxToStoa`, as Stoix uses it, takes 5.
        options: `partial_obs` and `obs_size` of `popgym_arcade.make`.

    Returns:
        (environment, its default params).

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if an argument is not one of those allowed.
    """
    env, params = registration.make(env_id, **options)
    return to_gymnax(env, values), params


def to_gymnax(env: Environment[Any, Any], values: int = 6) -> GymnaxEnvironment:
    """Make one of our environments an environment of gymnax.

    Args:
        env: either view of a game, not wrapped; for observations in rows or logs use gymnax's wrappers.
        values: 6, as gymnax 1.x has it, with `terminated` and `truncated`; or 5 as before, with `done` in their place,
            for what has not moved on, such as rejax 0.1.

    Returns:
        an instance of `gymnax.environments.environment.Environment`, with gymnax's spaces. Its params are those of
        `env`.

    Raises:
        TypeError: if `env` is not an `Environment`.
        ValueError: if `values` is neither 5 nor 6.
    """
    if not isinstance(env, Environment):
        raise TypeError(f"env must be an Environment, such as make(...)[0], got {type(env).__name__}")
    if values not in (5, 6):
        raise ValueError(f"values must be 6, as in gymnax 1.x, or 5, as before, got {values!r}")
    return GymnaxEnvironment(env, values)
