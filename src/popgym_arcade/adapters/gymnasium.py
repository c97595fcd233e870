"""Our games as environments of Gymnasium, one at a time or in batches that step in one call.

To import this module registers every game as `popgym_arcade/<name>-v<version of its rules>`:

    import gymnasium
    import popgym_arcade.adapters.gymnasium

    env = gymnasium.make("popgym_arcade/BattleShipEasy-v1", partial_obs=True, render_mode="rgb_array")
    envs = gymnasium.make_vec("popgym_arcade/BattleShipEasy-v1", num_envs=1024, partial_obs=True)

Episodes follow from seeds: environment i of a batch that was reset with seed s plays what a single environment plays
that was reset with s + i, in all modes.
"""

import copy
import dataclasses
import enum
import functools
from collections.abc import Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade import checks, registration
from popgym_arcade.environment import Environment, Params

try:
    import gymnasium
    from gymnasium.envs.registration import EnvSpec
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
_NO_LIMIT = np.int32(np.iinfo(np.int32).max)


class _Specified:
    """Shared by single environments and batches: a spec that JSON can hold, and that tells when episodes are cut off."""

    params: Any
    _limit = _NO_LIMIT
    _spec: EnvSpec | None = None

    @property
    def spec(self) -> EnvSpec | None:
        """The spec by which Gymnasium made this; None, if it did not."""
        return self._spec

    @spec.setter
    def spec(self, spec: EnvSpec | None) -> None:
        # Gymnasium sets it at the end of `make` and `make_vec`, with the arguments as they were given.
        if spec is not None:
            steps = min(int(self._limit), int(self.params.max_steps_in_episode))
            spec = dataclasses.replace(spec, kwargs=_plain(spec.kwargs), max_episode_steps=steps)
        self._spec = spec


class ArcadeEnv(_Specified, gymnasium.Env[Any, Any]):  # pyright: ignore[reportIncompatibleVariableOverride]
    """One game in one view.

    Args:
        env_id: a name that `popgym_arcade.make` knows, e.g. "BattleShipEasy".
        partial_obs: False for the MDP view, True for its partially observable twin.
        obs_size: height and width of the frames in pixels, 64 to 512.
        render_mode: None or "rgb_array".
        params: the parameters of the game, or a mapping of those that are not as in the rules, such as
            `{"max_steps_in_episode": 50}`.
        arrays: what observations are: "numpy" or "jax".

    Observations: uint8[obs_size, obs_size, 3]. Actions: integers from 0 to 4, see `popgym_arcade.Environment`. `info`
    holds `score`, the return in percent, a `numpy.int32`.

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
        params: Params | Mapping[str, Any] | None = None,
        arrays: str = "numpy",
    ) -> None:
        self.game, _ = registration.make(env_id, partial_obs=partial_obs, obs_size=obs_size)
        """The environment inside."""
        self.params = _checked_params(self.game, params)
        """The parameters of the game."""
        self.state: Any = None
        """The state of the game; None before `reset`."""
        self.render_mode = _checked_render_mode(render_mode)
        self.metadata = _metadata(self.game)
        self.observation_space, self.action_space = _spaces(self.game)
        self._in_numpy = _checked_arrays(arrays) == "numpy"
        self._stream: Any = None
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
        if seed is not None or self._stream is None:
            self._stream = _words(seed, self.np_random), np.uint32(0)
        self._stream, self.state, obs = _start(self.game, self._stream, self.params)
        self._is_over = False
        frame, score = _fetched(obs, self.state.score)
        return self._converted(obs, frame), {"score": score[()]}

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
        if number.shape != () or not np.issubdtype(number.dtype, np.integer) or int(number) not in range(5):
            raise ValueError(f"action must be an integer from 0 to 4, got {action!r}")
        self._stream, self.state, obs, *rest = _step(
            self.game, self._stream, self.state, np.int32(number), self.params, self._limit
        )
        frame, reward, terminated, truncated, score = _fetched(obs, *rest, self.state.score)
        self._is_over = bool(terminated or truncated)
        return self._converted(obs, frame), float(reward), bool(terminated), bool(truncated), {"score": score[()]}

    def render(self) -> np.ndarray | None:
        """Return the frame, uint8[obs_size, obs_size, 3], or None, if there is no render mode."""
        return np.array(self.game.get_obs(self.state)) if _can_render(self) else None

    def get_keys_to_action(self) -> dict[tuple[int, ...], int]:
        """Return the arrows and space by their codes in pygame, for `gymnasium.utils.play`."""
        import pygame

        keys = (pygame.K_UP, pygame.K_DOWN, pygame.K_LEFT, pygame.K_RIGHT, pygame.K_SPACE)
        return {(key,): action for action, key in enumerate(keys)}

    def _converted(self, obs: jax.Array, frame: np.ndarray) -> Any:
        return frame.copy() if self._in_numpy else obs


class ArcadeVectorEnv(_Specified, VectorEnv[Any, Any, Any]):  # pyright: ignore[reportIncompatibleVariableOverride]
    """A batch of one game that steps in one compiled call.

    Args:
        env_id: a name that `popgym_arcade.make` knows, e.g. "BattleShipEasy".
        num_envs: how many.
        partial_obs: False for the MDP view, True for its partially observable twin.
        obs_size: height and width of the frames in pixels, 64 to 512.
        render_mode: None or "rgb_array".
        params: the parameters of the game, or a mapping of those that are not as in the rules, such as
            `{"max_steps_in_episode": 50}`.
        max_episode_steps: truncate episodes after so many steps, as Gymnasium's `TimeLimit` does to single ones; None:
            the clock of the game alone does.
        autoreset_mode: what happens after the end of an episode. "NextStep", Gymnasium's default: the next step ignores
            its action, pays 0 and shows the next episode's first frame. "SameStep": the last step does so itself, and
            `infos` gains `final_obs` and `final_info` with the masks `_final_obs` and `_final_info`. "Disabled": you call
            `reset(options={"reset_mask": terminations | truncations})` before the next step.
        arrays: what `step` and `reset` return. "numpy": frames are read-only, in the processor's own memory those of
            jax without a copy, and `final_obs` an array of objects, None where no episode ended. "jax": everything stays on
            the device, and `final_obs` is uint8[num_envs, obs_size, obs_size, 3], black where no episode ended; "NextStep"
            waits for nothing, the others for whether an episode ended. Of actions that are jax arrays only shape and
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
        params: Params | Mapping[str, Any] | None = None,
        max_episode_steps: int | None = None,
        autoreset_mode: AutoresetMode | str = AutoresetMode.NEXT_STEP,
        arrays: str = "numpy",
    ) -> None:
        num_envs = checks.integer("num_envs", num_envs, 1)
        self.game, _ = registration.make(env_id, partial_obs=partial_obs, obs_size=obs_size)
        """The environment inside."""
        self.params = _checked_params(self.game, params)
        """The parameters of the game."""
        self.state: Any = None
        """The states of the games, every leaf with a leading axis num_envs; None before `reset`."""
        self.num_envs = num_envs
        self.render_mode = _checked_render_mode(render_mode)
        self.metadata = {**_metadata(self.game), "autoreset_mode": _checked_mode(autoreset_mode)}
        self.single_observation_space, self.single_action_space = _spaces(self.game)
        self.observation_space = _batch(self.single_observation_space, self.num_envs)
        self.action_space = gymnasium.spaces.MultiDiscrete(np.full(self.num_envs, self.game.num_actions))
        self._in_numpy = _checked_arrays(arrays) == "numpy"
        self._limit = _checked_limit(max_episode_steps)
        self._streams: Any = None
        self._is_over: Any = None

    @property
    def autoreset_mode(self) -> AutoresetMode:
        """The autoreset mode, which says what happens after the end of an episode."""
        return self.metadata["autoreset_mode"]

    def reset(
        self, *, seed: int | Sequence[int | None] | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Any, dict[str, Any]]:
        """Start an episode in each environment.

        Args:
            seed: s for the seeds s, s + 1, ..., or one for each; None: they go on from the last ones, or, the first
                time, from random ones.
            options: `{"reset_mask": mask}` with a mask bool[num_envs]: only these start anew, the others stay as they are.

        Returns:
            (observations, infos), of all environments.

        Raises:
            ValueError: if there are not as many seeds as environments, or other options, or nothing is to be started.
            gymnasium.error.ResetNeeded: if the first reset has a mask that leaves out environments.
        """
        chosen = self._chosen(options)
        if isinstance(seed, int | np.integer):
            super().reset(seed=int(seed))
            seed = [int(seed) + number for number in range(self.num_envs)]
        seeds = [None] * self.num_envs if seed is None else seed
        if np.asarray(seeds, object).shape != (self.num_envs,):
            raise ValueError(f"seed must be an integer or as many as environments, {self.num_envs}, got {seed!r:.40}")
        self._seed(seeds, chosen)
        if chosen.all():
            self._streams, self.state, obs = _start_all(self.game, self._streams, self.params)
            self._is_over = np.zeros(self.num_envs, bool)
        else:
            self._streams, self.state, self._is_over, obs = _start_some(
                self.game, self._streams, self.state, self._is_over, chosen, self.params
            )
        obs, score = self._converted(obs, self.state.score)
        return obs, self._infos(score)

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
        if self.autoreset_mode is AutoresetMode.SAME_STEP:
            return self._step_and_reset(actions)
        if self.autoreset_mode is AutoresetMode.DISABLED and np.asarray(self._is_over).any():
            ended = np.flatnonzero(self._is_over)
            raise gymnasium.error.ResetNeeded(
                f'episodes have ended, {ended}: call reset(options={{"reset_mask": terminations | truncations}})'
            )
        self._streams, self.state, self._is_over, *rest = _next_step(
            self.game, self._streams, self.state, self._is_over, actions, self.params, self._limit
        )
        *values, score = self._converted(*rest)
        return *values, self._infos(score)

    def _step_and_reset(self, actions: Any) -> tuple[Any, Any, Any, Any, dict[str, Any]]:
        self._streams, self.state, final_state, *rest = _same_step(
            self.game, self._streams, self.state, actions, self.params, self._limit
        )
        obs, reward, terminated, truncated, score, final_score = self._converted(*rest)
        infos = self._infos(score)
        done = terminated | truncated
        ended = np.flatnonzero(done)
        if len(ended) > 0:
            infos["final_obs"] = self._final_frames(final_state, ended)
            infos["final_info"] = {"score": final_score, "_score": done}
            infos["_final_info"] = infos["_final_obs"] = done
        return obs, reward, terminated, truncated, infos

    def render(self) -> tuple[np.ndarray, ...] | None:
        """Return the frames, each uint8[obs_size, obs_size, 3], or None, if there is no render mode."""
        return tuple(np.asarray(_draw_all(self.game, self.state))) if _can_render(self) else None

    def _converted(self, frames: jax.Array, *small: jax.Array) -> Any:
        if not self._in_numpy:
            return frames, *small
        fetched = _fetched(frames, *small)
        return fetched[0], *map(np.array, fetched[1:])  # copies, as some wrappers write into them

    def _infos(self, score: Any) -> dict[str, Any]:
        return {"score": score, "_score": np.ones(self.num_envs, bool)}

    def _chosen(self, options: dict[str, Any] | None) -> np.ndarray:
        """Return which environments `reset` is to start, bool[num_envs]."""
        options = dict(options or {})
        chosen = np.asarray(options.pop("reset_mask", np.ones(self.num_envs, bool)))
        _check_options(options)
        if chosen.shape != (self.num_envs,) or chosen.dtype != bool or not chosen.any():
            raise ValueError(f"reset_mask must be bool[{self.num_envs}], somewhere True, got {chosen!r:.80}")
        if self.state is None and not chosen.all():
            raise gymnasium.error.ResetNeeded("the first reset must start all environments")
        return chosen

    def _seed(self, seeds: Sequence[int | None], chosen: np.ndarray) -> None:
        """Give new streams to those chosen that have a seed, and random ones to those that have none yet."""
        first = self._streams is None
        news = [number for number in np.flatnonzero(chosen).tolist() if first or seeds[number] is not None]
        if not news:
            return
        empty = np.zeros((self.num_envs, 2), np.uint32), np.zeros(self.num_envs, np.uint32)
        words, numbers = empty if first else map(np.array, self._streams)
        words[news], numbers[news] = np.stack([_words(seeds[number], self.np_random) for number in news]), 0
        self._streams = words, numbers

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


# A stream of keys is the words of one, and a number: those of its starts and steps are made from it by their numbers. So
# where the rules draw nothing, XLA makes no key at all.
def _next_key(stream: Any) -> tuple[Any, jax.Array]:
    words, number = stream
    key = jax.random.wrap_key_data(words, impl="threefry2x32")
    return (words, number + np.uint32(1)), jax.random.fold_in(key, number)


@_Static
def _start(env: Environment[Any, Any], stream: Any, params: Any) -> Any:
    stream, key = _next_key(stream)
    obs, state = env.reset(key, params)
    return stream, state, obs


@_Static
def _step(env: Environment[Any, Any], stream: Any, state: Any, action: jax.Array, params: Any, limit: jax.Array) -> Any:
    stream, key = _next_key(stream)
    obs, state, reward, _, info = env.step_env(key, state, action, params)
    return stream, state, obs, reward, info["terminated"], info["truncated"] | (state.time >= limit)


@_Static
def _start_all(env: Environment[Any, Any], streams: Any, params: Any) -> Any:
    return jax.vmap(lambda stream: _start(env, stream, params))(streams)


@_Static
def _start_some(
    env: Environment[Any, Any], streams: Any, states: Any, is_over: jax.Array, chosen: jax.Array, params: Any
) -> Any:
    def one(stream: Any, state: Any, is_over: jax.Array, chosen: jax.Array) -> Any:
        after, fresh, _ = _start(env, stream, params)
        stream, state = _select(chosen, (after, fresh), (stream, state))
        return stream, state, is_over & ~chosen, env.get_obs(state)

    return jax.vmap(one)(streams, states, is_over, chosen)


@_Static
def _next_step(
    env: Environment[Any, Any],
    streams: Any,
    states: Any,
    is_over: jax.Array,
    actions: jax.Array,
    params: Any,
    limit: jax.Array,
) -> Any:
    def one(stream: Any, state: Any, is_over: jax.Array, action: jax.Array) -> Any:
        # Neither frame of the two is used, so neither is drawn.
        after, stepped, _, reward, terminated, truncated = _step(env, stream, state, action, params, limit)
        _, fresh, _ = _start(env, stream, params)
        state = _select(is_over, fresh, stepped)
        reward, terminated, truncated = jnp.where(is_over, 0.0, reward), terminated & ~is_over, truncated & ~is_over
        return after, state, terminated | truncated, env.get_obs(state), reward, terminated, truncated, state.score

    return jax.vmap(one)(streams, states, is_over, actions)


@_Static
def _same_step(
    env: Environment[Any, Any], streams: Any, states: Any, actions: jax.Array, params: Any, limit: jax.Array
) -> Any:
    def one(stream: Any, state: Any, action: jax.Array) -> Any:
        stream, final, _, reward, terminated, truncated = _step(env, stream, state, action, params, limit)
        done = terminated | truncated
        after, fresh, _ = _start(env, stream, params)
        stream, state = _select(done, (after, fresh), (stream, final))
        final_score = jnp.where(done, final.score, 0)
        return stream, state, final, env.get_obs(state), reward, terminated, truncated, state.score, final_score

    return jax.vmap(one)(streams, states, actions)


def _select(condition: jax.Array, new: Any, old: Any) -> Any:
    return jax.tree.map(lambda one, other: jnp.where(condition, one, other), new, old)


def _fetched(*arrays: jax.Array) -> list[np.ndarray]:
    """Bring arrays to the processor, together: on an accelerator all are under way before one is waited for."""
    if next(iter(arrays[0].devices())).platform != "cpu":
        for one in arrays:
            one.copy_to_host_async()
    return [np.asarray(one) for one in arrays]


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


def _words(seed: int | None, generator: np.random.Generator) -> np.ndarray:
    """Return the words of a key, uint32[2], for a seed, any integer from 0; None draws one."""
    if seed is None:
        seed = int(generator.integers(1 << 63))
    if isinstance(seed, bool) or not isinstance(seed, int | np.integer) or seed < 0:
        raise ValueError(f"seeds must be integers from 0, got {seed!r}")
    return np.random.SeedSequence(int(seed)).generate_state(2)


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
    try:
        return AutoresetMode(mode)
    except ValueError:
        raise ValueError(f"autoreset_mode must be one of {[one.value for one in AutoresetMode]}, got {mode!r}") from None


def _checked_limit(steps: int | None) -> np.int32:
    if steps is None:
        return _NO_LIMIT
    return np.int32(min(checks.integer("max_episode_steps", steps, 1), _NO_LIMIT))


def _checked_params(game: Environment[Any, Any], params: Params | Mapping[str, Any] | None) -> Any:
    default = game.default_params
    if isinstance(params, Mapping):
        if unknown := set(params) - set(vars(default)):
            raise ValueError(f"{game.name} has the params {', '.join(vars(default))}, not {', '.join(map(str, unknown))}")
        params = default.replace(**params)
    return game._checked_params(default if params is None else params)


def _plain(value: Any) -> Any:
    """Put what JSON holds in the place of params, enumerations and numbers of NumPy and jax."""
    if isinstance(value, Params):
        value = vars(value)
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in value.items()}
    if isinstance(value, enum.Enum):
        return value.value
    return value.item() if isinstance(value, np.generic | np.ndarray | jax.Array) and value.size == 1 else value


def _check_options(options: dict[str, Any] | None) -> None:
    if options:
        raise ValueError(f"reset has no options, got {options}")


register_envs()
