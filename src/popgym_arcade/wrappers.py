"""Wrappers with the names of gymnax 0.0.x, for the training scripts written with them.

Such a script says `import popgym_arcade as gymnax` and `from popgym_arcade.wrappers import ...`, and the rest stays.
"""

import abc
import dataclasses
import math
from typing import Any, Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from popgym_arcade import spaces
from popgym_arcade.environment import Replaceable, pytree


@dataclasses.dataclass(frozen=True)
class Wrapper:
    """Base class of wrappers: what it does not define is that of the environment inside. Wrappers stack.

    A wrapper is static configuration only: equal ones around equal environments are one static argument of `jax.jit`.

    Raises:
        TypeError: if `env` has no `reset` and `step`.
    """

    env: Any
    """An environment, or another wrapper."""

    def __post_init__(self) -> None:
        if not (callable(getattr(self.env, "reset", None)) and callable(getattr(self.env, "step", None))):
            raise TypeError(f"env must be an environment, such as make(...)[0], got {type(self.env).__name__}")

    def __getattr__(self, name: str) -> Any:
        # What is private stays with its owner: Python asks for `__setstate__` and the like before there is an `env`.
        if name.startswith("_"):
            raise AttributeError(f"{type(self).__name__!r} object has no attribute {name!r}")
        return getattr(self.env, name)

    @property
    def twin(self) -> Self:
        """The same wrapper around the other view. The two share states and params."""
        return dataclasses.replace(self, env=self.env.twin)


@pytree
class LogEnvState(Replaceable):
    """The state of an environment, and what `LogWrapper` notes."""

    env_state: Any
    """The state of the wrapped environment."""
    episode_returns: jax.Array
    """The undiscounted return of the episode so far, float32[]."""
    episode_lengths: jax.Array
    """Steps taken in the episode, int32[]."""
    returned_episode_returns: jax.Array
    """The return of the last episode that ended, float32[]; 0 before one has."""
    returned_episode_lengths: jax.Array
    """The length of the last episode that ended, int32[]; 0 before one has."""
    timestep: jax.Array
    """Steps taken since `reset`, in all episodes, int32[]."""


@dataclasses.dataclass(frozen=True)
class LogWrapper(Wrapper):
    """Note returns and lengths of episodes: see `LogEnvState` and the `info` of `step`."""

    keep_final_state: bool = dataclasses.field(default=False, kw_only=True)
    """Whether `info` keeps `final_state`. Without it `info` holds scalars alone: scripts average and log every entry."""

    def reset(self, key: jax.Array, params: Any = None) -> tuple[jax.Array, LogEnvState]:
        """Start an episode, with all counts at zero.

        Args:
            key: one JAX random key.
            params: the parameters of the game, `default_params` if left out.

        Returns:
            (observation, state).
        """
        obs, env_state = self.env.reset(key, params)
        return obs, LogEnvState(
            env_state=env_state,
            episode_returns=jnp.zeros((), jnp.float32),
            episode_lengths=jnp.zeros((), jnp.int32),
            returned_episode_returns=jnp.zeros((), jnp.float32),
            returned_episode_lengths=jnp.zeros((), jnp.int32),
            timestep=jnp.zeros((), jnp.int32),
        )

    def step(
        self, key: jax.Array, state: LogEnvState, action: ArrayLike, params: Any = None
    ) -> tuple[jax.Array, LogEnvState, jax.Array, jax.Array, dict[str, Any]]:
        """Take one step, with automatic reset.

        Args:
            key: one JAX random key.
            state: the state to start from.
            action: int[].
            params: the parameters of the game, `default_params` if left out.

        Returns:
            (observation, state, reward float32[], done bool[], info), where info gains `returned_episode_returns`
            float32[] and `returned_episode_lengths` int32[] (of the last episode that ended, be it at this step),
            `returned_episode` bool[] (whether one ended at this step) and `timestep` int32[], and loses `final_state`,
            unless `keep_final_state` is set.
        """
        obs, env_state, reward, done, info = self.env.step(key, state.env_state, action, params)
        total = state.episode_returns + reward
        length = state.episode_lengths + 1
        state = LogEnvState(
            env_state=env_state,
            episode_returns=jnp.where(done, 0, total),
            episode_lengths=jnp.where(done, 0, length),
            returned_episode_returns=jnp.where(done, total, state.returned_episode_returns),
            returned_episode_lengths=jnp.where(done, length, state.returned_episode_lengths),
            timestep=state.timestep + 1,
        )
        info = {name: value for name, value in info.items() if name != "final_state" or self.keep_final_state}
        info["returned_episode_returns"] = state.returned_episode_returns
        info["returned_episode_lengths"] = state.returned_episode_lengths
        info["returned_episode"] = done
        info["timestep"] = state.timestep
        return obs, state, reward, done, info


@dataclasses.dataclass(frozen=True)
class _ObservationWrapper(Wrapper, abc.ABC):
    """Change every observation, by `_changed`, and nothing else."""

    @abc.abstractmethod
    def _changed(self, obs: jax.Array) -> jax.Array: ...

    def reset(self, key: jax.Array, params: Any = None) -> tuple[jax.Array, Any]:
        """Start an episode; as the environment's, but for the observation."""
        obs, state = self.env.reset(key, params)
        return self._changed(obs), state

    def reset_env(self, key: jax.Array, params: Any = None) -> tuple[jax.Array, Any]:
        """Start an episode; the same as `reset`."""
        return self.reset(key, params)

    def step(self, key: jax.Array, state: Any, action: ArrayLike, params: Any = None) -> tuple[Any, ...]:
        """Take one step, with automatic reset; as the environment's, but for the observation."""
        obs, *rest = self.env.step(key, state, action, params)
        return self._changed(obs), *rest

    def step_env(self, key: jax.Array, state: Any, action: ArrayLike, params: Any = None) -> tuple[Any, ...]:
        """Take one step without automatic reset; otherwise as `step`."""
        obs, *rest = self.env.step_env(key, state, action, params)
        return self._changed(obs), *rest

    def get_obs(self, state: Any, params: Any = None) -> jax.Array:
        """Draw a state of the environment; as the environment's, but for the observation."""
        return self._changed(self.env.get_obs(state, params))


@dataclasses.dataclass(frozen=True)
class FlattenObservationWrapper(_ObservationWrapper):
    """Make every observation one row: uint8[obs_size * obs_size * 3], of scaled ones float32."""

    def observation_space(self, params: Any = None) -> spaces.Box:
        """Return the space of all rows."""
        space = self.env.observation_space(params)
        return spaces.Box(space.low, space.high, (math.prod(space.shape),), space.dtype)

    def _changed(self, obs: jax.Array) -> jax.Array:
        return obs.reshape(-1)


@dataclasses.dataclass(frozen=True)
class ScaleObservationWrapper(_ObservationWrapper):
    """Make every observation float32 in [0, 1], in the shape that it has, for networks that take bytes as they are.

    Raises:
        TypeError: if observations are not uint8, as those that are scaled already.
    """

    def __post_init__(self) -> None:
        super().__post_init__()
        if (dtype := self.env.observation_space().dtype) != np.uint8:
            raise TypeError(f"env must have observations of uint8 to scale, got {np.dtype(dtype)}")

    def observation_space(self, params: Any = None) -> spaces.Box:
        """Return the space of all float32 of the shape with entries in [0, 1]."""
        return spaces.Box(0, 1, self.env.observation_space(params).shape, np.float32)

    def _changed(self, obs: jax.Array) -> jax.Array:
        return obs.astype(np.float32) / 255
