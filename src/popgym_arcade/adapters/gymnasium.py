"""Our games as environments of Gymnasium, one at a time or in batches that step in one call.

To import this module registers every game as `popgym_arcade/<name>-v<version of its rules>`:

    import gymnasium
    import popgym_arcade.adapters.gymnasium

    env = gymnasium.make("popgym_arcade/BattleShipEasy-v1", partial_obs=True, render_mode="rgb_array")
    envs = gymnasium.make_vec("popgym_arcade/BattleShipEasy-v1", num_envs=1024, partial_obs=True)

Episodes follow from seeds: environment i of a batch that was reset with seed s plays what a single environment plays
that was reset with s + i (in the mode `SameStep` only until its first episode ends).
"""

import copy
import functools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade import registration
from popgym_arcade.environment import Environment

try:
    import gymnasium
    from gymnasium.vector import AutoresetMode, VectorEnv
except ModuleNotFoundError as error:
    raise ModuleNotFoundError(
        "popgym_arcade.adapters.gymnasium needs gymnasium: pip install 'popgym-arcade[gymnasium]'"
    ) from error

_RENDER_MODES = ("rgb_array",)
_WAITING_FPS = 4  # of films of games that wait for their player
_METADATA: dict[str, Any] = {"render_modes": list(_RENDER_MODES), "render_fps": _WAITING_FPS}
_ARRAYS = ("numpy", "jax")
_FEWEST = 3  # powers of two of final frames that are drawn at once, at least


class ArcadeEnv(gymnasium.Env[Any, Any]):
    """One game in one view.

    Args:
        env_id: a name that `popgym_arcade.make` knows, e.g. "BattleShipEasy".
        partial_obs: False for the MDP view, True for its partially observable twin.
        obs_size: height and width of the frames in pixels, 64 to 512.
        render_mode: None or "rgb_array".
        params: the numbers of the game, by default those of the rules.
        arrays: what observations are: "numpy" or "jax".

    Observations: uint8[obs_size, obs_size, 3]. Actions: integers from 0 to 4, see `popgym_arcade.Environment`. `info`
    holds `score`, the return in percent.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if an argument is not one of those allowed.
    """

    metadata = _METADATA

    def __init__(
        self,
        env_id: str,
        *,
        partial_obs: bool = False,
        obs_size: int = 128,
        render_mode: str | None = None,
        params: Any = None,
        arrays: str = "numpy",
    ) -> None:
        self.game, default = registration.make(env_id, partial_obs=partial_obs, obs_size=obs_size)
        """The environment inside."""
        self.params = default if params is None else params
        """The numbers of the game."""
        self.state: Any = None
        """The state of the game; None before `reset`."""
        self.render_mode = _checked_render_mode(render_mode)
        self.metadata = _metadata(self.game)
        self.observation_space, self.action_space = _spaces(self.game)
        self._in_numpy = _checked_arrays(arrays) == "numpy"
        self._key: jax.Array | None = None
        self._is_over = True

    def reset(self, *, seed: int | None = None, options: dict[str, Any] | None = None) -> tuple[Any, dict[str, Any]]:
        """Start an episode.

        Args:
            seed: what the episodes from here on follow from; None: they go on from the last seed, or, the first time,
                from a random one.
            options: there are none.

        Returns:
            (observation, info).
        """
        seed = int(seed) if isinstance(seed, np.integer) else seed
        super().reset(seed=seed)
        _check_options(options)
        if seed is not None or self._key is None:
            self._key = _keys([_drawn_seed(self.np_random) if seed is None else seed])[0]
        self._key, self.state, obs = _start(self.game, self._key, self.params)
        self._is_over = False
        return self._converted(obs), {"score": int(self.state.score)}

    def step(self, action: Any) -> tuple[Any, float, bool, bool, dict[str, Any]]:
        """Take one step.

        Returns:
            (observation, reward, terminated, truncated, info).

        Raises:
            gymnasium.error.ResetNeeded: before `reset`, and after the end of an episode.
            ValueError: if `action` is not an integer from 0 to 4.
        """
        if self._is_over:
            raise gymnasium.error.ResetNeeded("there is no episode going on: call reset")
        number = np.asarray(action)
        if number.shape != () or not np.issubdtype(number.dtype, np.integer) or number not in range(5):
            raise ValueError(f"action must be an integer from 0 to 4, got {action!r}")
        self._key, self.state, obs, *rest = _step(self.game, self._key, self.state, number, self.params)
        reward, terminated, truncated = jax.device_get(rest)
        self._is_over = bool(terminated or truncated)
        info = {"score": int(self.state.score)}
        return self._converted(obs), float(reward), bool(terminated), bool(truncated), info

    def render(self) -> np.ndarray | None:
        """Return the frame, uint8[obs_size, obs_size, 3], or None, if there is no render mode."""
        return np.array(self.game.get_obs(self.state)) if _can_render(self) else None

    def _converted(self, obs: jax.Array) -> Any:
        return np.array(obs) if self._in_numpy else obs


class ArcadeVectorEnv(VectorEnv[Any, Any, Any]):
    """A batch of one game that steps in one compiled call.

    Args:
        env_id: a name that `popgym_arcade.make` knows, e.g. "BattleShipEasy".
        num_envs: how many.
        partial_obs: False for the MDP view, True for its partially observable twin.
        obs_size: height and width of the frames in pixels, 64 to 512.
        render_mode: None or "rgb_array".
        params: the numbers of the game, by default those of the rules.
        autoreset_mode: what happens after the end of an episode. "NextStep", Gymnasium's default: the next step ignores
            its action, pays 0 and shows the next episode's first frame. "SameStep": the last step does so itself, and
            `infos` gains `final_obs` and `final_info` with the masks `_final_obs` and `_final_info`.
        arrays: what `step` and `reset` return. "numpy": frames are read-only, in the processor's own memory those of
            jax without a copy, and `final_obs` an array of objects, None where no episode ended. "jax": everything stays on
            the device, and `final_obs` is uint8[num_envs, obs_size, obs_size, 3], black where no episode ended; "NextStep"
            waits for nothing, "SameStep" for whether an episode ended. Of actions that are jax arrays only shape and
            type are checked, and numbers out of range do nothing.

    Observations: uint8[num_envs, obs_size, obs_size, 3]. Rewards: float32[num_envs]. `infos` holds `score`,
    int32[num_envs], with its mask.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if an argument is not one of those allowed.
    """

    metadata = _METADATA

    def __init__(
        self,
        env_id: str,
        num_envs: int = 1,
        *,
        partial_obs: bool = False,
        obs_size: int = 128,
        render_mode: str | None = None,
        params: Any = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        arrays: str = "numpy",
    ) -> None:
        if isinstance(num_envs, bool) or not isinstance(num_envs, int | np.integer):
            raise TypeError(f"num_envs must be an int, got {num_envs!r}")
        if num_envs < 1:
            raise ValueError(f"num_envs must be at least 1, got {num_envs}")
        self.game, default = registration.make(env_id, partial_obs=partial_obs, obs_size=obs_size)
        """The environment inside."""
        self.params = default if params is None else params
        """The numbers of the game."""
        self.state: Any = None
        """The states of the games, every leaf with a leading axis num_envs; None before `reset`."""
        self.num_envs = int(num_envs)
        self.render_mode = _checked_render_mode(render_mode)
        self.metadata = {**_metadata(self.game), "autoreset_mode": _checked_mode(autoreset_mode)}
        self.single_observation_space, self.single_action_space = _spaces(self.game)
        self.observation_space = _batch(self.single_observation_space, self.num_envs)
        self.action_space = gymnasium.spaces.MultiDiscrete(np.full(self.num_envs, self.game.num_actions))
        self._resets_at_once = self.metadata["autoreset_mode"] is AutoresetMode.SAME_STEP
        self._in_numpy = _checked_arrays(arrays) == "numpy"
        self._keys: jax.Array | None = None
        self._is_over = jnp.zeros(self.num_envs, bool)

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in each environment.

        Args:
            seed: s for the seeds s, s + 1, ..., or one for each; None: they go on from the last ones, or, the first
                time, from random ones.
            options: there are none.

        Returns:
            (observations, infos).

        Raises:
            ValueError: if there are not as many seeds as environments, or there are options.
        """
        _check_options(options)
        if isinstance(seed, int | np.integer):
            super().reset(seed=int(seed))
            seed = [int(seed) + number for number in range(self.num_envs)]
        if seed is not None and np.asarray(seed, object).shape != (self.num_envs,):
            raise ValueError(f"seed must be an integer or as many as environments, {self.num_envs}, got {seed!r:.40}")
        if seed is not None or self._keys is None:
            seeds = [None] * self.num_envs if seed is None else seed
            self._keys = _keys([_drawn_seed(self.np_random) if one is None else one for one in seeds])
        self._keys, self.state, obs = _start_all(self.game, self._keys, self.params)
        self._is_over = jnp.zeros(self.num_envs, bool)
        return self._converted(obs), self._infos(self._copied(self.state.score))

    def step(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        """Take one step in each environment.

        Args:
            actions: int[num_envs], each from 0 to 4.

        Returns:
            (observations, rewards, terminations, truncations, infos).

        Raises:
            gymnasium.error.ResetNeeded: before `reset`.
            ValueError: if `actions` are not as many integers from 0 to 4.
        """
        if self.state is None:
            raise gymnasium.error.ResetNeeded("there is no episode going on: call reset")
        actions = self._checked(actions)
        if not self._resets_at_once:
            self._keys, self.state, self._is_over, obs, *rest = _next_step(
                self.game, self._keys, self.state, self._is_over, actions, self.params
            )
            reward, terminated, truncated, score = self._copied(rest)
            return self._converted(obs), reward, terminated, truncated, self._infos(score)
        self._keys, self.state, obs, final_state, *rest = _same_step(self.game, self._keys, self.state, actions, self.params)
        reward, terminated, truncated, score = self._copied(rest)
        infos = self._infos(score)
        done = terminated | truncated
        ended = np.flatnonzero(done)
        if len(ended) > 0:
            final_score = jnp.where(done, final_state.score, 0)
            infos["final_obs"] = self._final_frames(final_state, ended)
            infos["final_info"] = {"score": self._copied(final_score), "_score": done}
            infos["_final_info"] = infos["_final_obs"] = done
        return self._converted(obs), reward, terminated, truncated, infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return the frames, each uint8[obs_size, obs_size, 3], or None, if there is no render mode."""
        return tuple(np.asarray(_draw_all(self.game, self.state))) if _can_render(self) else None

    def _converted(self, frames: jax.Array) -> Any:
        return np.asarray(frames) if self._in_numpy else frames

    def _copied(self, arrays: Any) -> Any:
        # Small, and some wrappers write into them.
        return jax.tree.map(np.array, arrays) if self._in_numpy else arrays

    def _infos(self, score: Any) -> dict[str, Any]:
        return {"score": score, "_score": np.ones(self.num_envs, bool)}

    def _checked(self, actions: Any) -> Any:
        array = actions if isinstance(actions, jax.Array) else np.asarray(actions)
        if array.shape != (self.num_envs,) or not jnp.issubdtype(array.dtype, jnp.integer):
            raise ValueError(f"actions must be int[{self.num_envs}], got {array.dtype}[{', '.join(map(str, array.shape))}]")
        if isinstance(array, np.ndarray) and not ((array >= 0) & (array < self.game.num_actions)).all():
            raise ValueError(f"actions must be from 0 to {self.game.num_actions - 1}, got {array}")
        return array

    def _final_frames(self, final_state: Any, ended: np.ndarray) -> Any:
        """Draw the final frames of those that ended; in numbers that are powers of two, so that little is compiled."""
        chosen = np.resize(ended, 1 << max(_FEWEST, (len(ended) - 1).bit_length()))
        if not self._in_numpy:
            return _draw_into(self.game, final_state, chosen)
        frames = np.full(self.num_envs, None, object)
        for number, frame in zip(ended, np.asarray(_draw_some(self.game, final_state, chosen)), strict=False):
            frames[number] = frame
        return frames


def register_envs() -> None:
    """Register with Gymnasium what `popgym_arcade.register` has been told since this module was imported."""
    for name in registration.registered():
        env_id = f"popgym_arcade/{name}-v{registration.make(name)[0].version}"
        if env_id not in gymnasium.registry:
            gymnasium.register(
                env_id,
                entry_point=f"{__name__}:{ArcadeEnv.__name__}",
                vector_entry_point=f"{__name__}:{ArcadeVectorEnv.__name__}",
                kwargs={"env_id": name},
            )


_Static = functools.partial(jax.jit, static_argnums=0)


@_Static
def _start(env: Environment[Any, Any], key: jax.Array, params: Any) -> Any:
    key, key_reset = jax.random.split(key)
    obs, state = env.reset(key_reset, params)
    return key, state, obs


@_Static
def _step(env: Environment[Any, Any], key: jax.Array, state: Any, action: jax.Array, params: Any) -> Any:
    key, key_step = jax.random.split(key)
    obs, state, reward, _, info = env.step_env(key_step, state, action, params)
    return key, state, obs, reward, info["terminated"], info["truncated"]


@_Static
def _start_all(env: Environment[Any, Any], keys: jax.Array, params: Any) -> Any:
    return jax.vmap(lambda key: _start(env, key, params))(keys)


@_Static
def _next_step(
    env: Environment[Any, Any], keys: jax.Array, states: Any, is_over: jax.Array, actions: jax.Array, params: Any
) -> Any:
    def one(key: jax.Array, state: Any, is_over: jax.Array, action: jax.Array) -> Any:
        # Neither frame of the two is used, so neither is drawn.
        key_after, stepped, _, reward, terminated, truncated = _step(env, key, state, action, params)
        _, fresh, _ = _start(env, key, params)
        state = jax.tree.map(lambda new, old: jnp.where(is_over, new, old), fresh, stepped)
        reward, terminated, truncated = jnp.where(is_over, 0.0, reward), terminated & ~is_over, truncated & ~is_over
        return key_after, state, terminated | truncated, env.get_obs(state), reward, terminated, truncated, state.score

    return jax.vmap(one)(keys, states, is_over, actions)


@_Static
def _same_step(env: Environment[Any, Any], keys: jax.Array, states: Any, actions: jax.Array, params: Any) -> Any:
    def one(key: jax.Array, state: Any, action: jax.Array) -> Any:
        key, key_step = jax.random.split(key)
        obs, state, reward, _, info = env.step(key_step, state, action, params)
        return key, state, obs, info["final_state"], reward, info["terminated"], info["truncated"], state.score

    return jax.vmap(one)(keys, states, actions)


@_Static
def _draw_all(env: Environment[Any, Any], states: Any) -> jax.Array:
    return jax.vmap(env.get_obs)(states)


@_Static
def _draw_some(env: Environment[Any, Any], states: Any, chosen: jax.Array) -> jax.Array:
    return jax.vmap(env.get_obs)(jax.tree.map(lambda leaf: leaf[chosen], states))


@_Static
def _draw_into(env: Environment[Any, Any], states: Any, chosen: jax.Array) -> jax.Array:
    frames = _draw_some(env, states, chosen)
    return jnp.zeros((len(states.time), *frames.shape[1:]), frames.dtype).at[chosen].set(frames)


def _keys(seeds: Sequence[int]) -> jax.Array:
    """Return a key for each seed, any integer from 0."""
    for seed in seeds:
        if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
            raise ValueError(f"seeds must be integers from 0, got {seed!r}")
    words = np.stack([np.random.SeedSequence(int(seed)).generate_state(2) for seed in seeds])
    return jax.random.wrap_key_data(jnp.asarray(words), impl="threefry2x32")


def _drawn_seed(generator: np.random.Generator) -> int:
    return int(generator.integers(1 << 63))


def _spaces(env: Environment[Any, Any]) -> tuple[gymnasium.spaces.Box, gymnasium.spaces.Discrete]:
    shape = (env.obs_size, env.obs_size, 3)
    return gymnasium.spaces.Box(0, 255, shape, np.uint8), gymnasium.spaces.Discrete(env.num_actions)


def _batch(space: gymnasium.spaces.Box, number: int) -> gymnasium.spaces.Box:
    """Do what `gymnasium.vector.utils.batch_space` does, but for the arrays of bounds, which would take as much memory as
    four batches of frames: here they are one space's, seen again and again.
    """
    batch = copy.deepcopy(space)
    batch._shape = (number, *space.shape)
    for name in ("low", "high", "bounded_below", "bounded_above"):
        setattr(batch, name, np.broadcast_to(getattr(space, name), batch.shape))
    return batch


def _metadata(env: Environment[Any, Any]) -> dict[str, Any]:
    return {**_METADATA, "render_fps": env.steps_per_second or _WAITING_FPS}


def _can_render(env: ArcadeEnv | ArcadeVectorEnv) -> bool:
    if env.render_mode is None:
        gymnasium.logger.warn('there is nothing to render without render_mode="rgb_array"')
        return False
    if env.state is None:
        raise gymnasium.error.ResetNeeded("there is nothing to render yet: call reset")
    return True


def _checked_render_mode(mode: str | None) -> str | None:
    if mode is not None and mode not in _RENDER_MODES:
        raise ValueError(f"render_mode must be None or one of {_RENDER_MODES}, got {mode!r}")
    return mode


def _checked_arrays(arrays: str) -> str:
    if arrays not in _ARRAYS:
        raise ValueError(f"arrays must be one of {_ARRAYS}, got {arrays!r}")
    return arrays


def _checked_mode(mode: AutoresetMode | str) -> AutoresetMode:
    offered = (AutoresetMode.NEXT_STEP, AutoresetMode.SAME_STEP)
    for one in offered:
        if mode in (one, one.value):
            return one
    raise ValueError(f"autoreset_mode must be one of {[one.value for one in offered]}, got {mode!r}")


def _check_options(options: dict[str, Any] | None) -> None:
    if options:
        raise ValueError(f"reset has no options, got {options}")


register_envs()
