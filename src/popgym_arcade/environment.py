"""The one step loop that all games share: clock, ends, auto-reset, spaces, jit and the choice of view.

A game subclasses `Environment` and writes three things: how an episode starts (`initial_state`), what an action does
(`transition`) and what is on the screen (`draw`). See `environments/navigator.py` for a complete example.
"""

import abc
import dataclasses
import enum
import functools
from collections.abc import Callable
from typing import Any, ClassVar, Generic, Self, TypeVar, cast, dataclass_transform

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from popgym_arcade import checks, spaces


class Action(enum.IntEnum):
    """The actions, the same in every game."""

    UP = 0
    DOWN = 1
    LEFT = 2
    RIGHT = 3
    FIRE = 4


NO_OP = len(Action)
"""One of the integers that are no action."""
LEVELS = ("Easy", "Medium", "Hard")
VIEWS = ("mdp", "pomdp")
"""The views, as command lines and files name them."""
OBS_SIZES = range(64, 513)

_T = TypeVar("_T")


@dataclass_transform(frozen_default=True, kw_only_default=True)
def pytree(cls: type[_T]) -> type[_T]:
    """Make `cls` a frozen keyword-only dataclass whose fields are the leaves of a JAX pytree."""
    return jax.tree_util.register_dataclass(dataclasses.dataclass(frozen=True, kw_only=True, eq=False)(cls))


@pytree
class Replaceable:
    """A pytree with a method for changed copies."""

    def replace(self, **changes: Any) -> Self:
        """Return a copy with the given fields changed."""
        return dataclasses.replace(self, **changes)


@pytree
class Params(Replaceable):
    """The parameters of a game. Games add theirs; every leaf may be traced, and batched by `vmap`."""

    max_steps_in_episode: ArrayLike
    """The clock, int32[]: an episode is truncated after this many steps."""


@pytree
class State(Replaceable):
    """The fields of every game's state. Games add their own."""

    time: jax.Array
    """Steps taken in this episode, int32[]. Never shown."""
    score: jax.Array
    """The undiscounted return so far in percent, rounded (see `percent`), int32[]. Public."""


@pytree
class Glimpse(Replaceable):
    """The contents of one frame, and no more. Games add fields; what a view hides reads as if it were not there."""

    score: jax.Array
    """The return so far in percent, int32[]."""


S = TypeVar("S", bound=State)
P = TypeVar("P", bound=Params)
Method = TypeVar("Method", bound=Callable[..., Any])
Transition = tuple[S, jax.Array, jax.Array]
TimeStep = tuple[jax.Array, S, jax.Array, jax.Array, dict[str, Any]]


def _jit(method: Method) -> Method:
    """Compile a method, once for all equal environments. Keeps the signature in the eyes of type checkers."""
    return cast(Method, jax.jit(method, static_argnums=0))


def compiled_step(method: Method) -> Method:
    """Compile a method `(self, key, state, action, params=None)` as `_jit` does, with any integer as an action.

    JAX knows only integers of 32 bits, by default: of larger ones it takes the last 32 bits, or raises an `OverflowError`.
    """
    compiled = jax.jit(method, static_argnums=0)

    @functools.wraps(method)
    def step(self: Any, key: jax.Array, state: Any, action: ArrayLike, params: Any = None) -> Any:
        return compiled(self, key, state, _within_32_bits(action), params)

    return cast(Method, step)


def checked_obs_size(obs_size: Any) -> int:
    """Return a size of frames as an int, or raise if it is none from 64 to 512."""
    return checks.integer("obs_size", obs_size, OBS_SIZES[0], OBS_SIZES[-1])


def view_name(partial_obs: Any) -> str:
    """Return how a view is called: POMDP if it is partially observable, else MDP."""
    return VIEWS[bool(partial_obs)].upper()


def percent(total: ArrayLike) -> jax.Array:
    """Convert a return, float32[], to whole percent, int32[], rounding halves to even as NumPy does.

    The float noise of different compilers must not decide a half: what lies within 1e-4 of one counts as one.
    """
    exact = 100.0 * jnp.asarray(total, jnp.float32)
    half = jnp.round(2.0 * exact) / 2.0
    return jnp.round(jnp.where(jnp.abs(exact - half) < 1e-4, half, exact)).astype(jnp.int32)


def survival(time: jax.Array, lost: jax.Array, params: Params) -> tuple[jax.Array, jax.Array]:
    """Return (score, reward) of a game that pays 1 / clock for each step survived.

    Args:
        time: the number of the step, counted from 0, int32[]: all steps before it were survived.
        lost: whether this one was not, bool[].
        params: the clock is read from them.
    """
    step_reward = 1.0 / jnp.maximum(jnp.asarray(params.max_steps_in_episode, jnp.float32), 1.0)
    return percent((time + ~lost) * step_reward), jnp.where(lost, 0.0, step_reward)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Environment(abc.ABC, Generic[S, P]):
    """One view of a game: the MDP or, with `partial_obs`, its partially observable twin.

    An environment is static configuration only. It is hashable, and equal to every other one built with the same
    arguments, so it may be a static argument of `jax.jit`.

    Actions:
        int[], 0 up, 1 down, 2 left, 3 right, 4 fire. Any other integer is a no-op, also one beyond 32 bits, unless JAX has
        seen it first. An action that is not an integer scalar raises a `TypeError` when it is traced.
    Params:
        numbers in the shapes of `default_params`, and integers where those are integers, such as the clock. Others, and
        truth values, raise a `TypeError` when they are traced.
    Observations:
        uint8[obs_size, obs_size, 3], RGB, a pure function of the state.
    Keys:
        `step` and `step_env` split theirs in two: the first half drives the transition, the second starts the next
        episode (unused by `step_env`). So both agree wherever an episode goes on.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if `difficulty` or `obs_size` is not one of those offered.
    """

    difficulties: ClassVar[tuple[str, ...]] = ("",)
    """The difficulties a game offers; one without a name, unless it says otherwise."""

    version: ClassVar[int] = 0
    """The version of the rules. It rises whenever returns measured under the former ones stop being comparable."""

    steps_per_second: ClassVar[float | None] = None
    """The pace at which a person plays a game that runs by itself; None, if it waits for the player."""

    idle_action: ClassVar[int] = Action.FIRE
    """The action of an idle person in a game that runs by itself: one without effect."""

    difficulty: str = ""
    """One of `difficulties`, by default the first."""
    partial_obs: bool = False
    """Whether this is the POMDP view of the game."""
    obs_size: int = 128
    """Height and width of the frame in pixels, 64 to 512."""

    def __post_init__(self) -> None:
        if self.difficulty == "":
            object.__setattr__(self, "difficulty", self.difficulties[0])
        if self.difficulty not in self.difficulties:
            raise ValueError(f"difficulty must be one of {self.difficulties}, got {self.difficulty!r}")
        if not isinstance(self.partial_obs, bool | np.bool_):
            raise TypeError(f"partial_obs must be True or False, got {self.partial_obs!r}")
        object.__setattr__(self, "partial_obs", bool(self.partial_obs))
        object.__setattr__(self, "obs_size", checked_obs_size(self.obs_size))

    def __getstate__(self) -> dict[str, Any]:
        # Pickles are small: what was drawn for the screen is drawn again.
        return {field.name: getattr(self, field.name) for field in dataclasses.fields(self)}

    # What a game writes.

    @property
    @abc.abstractmethod
    def default_params(self) -> P:
        """The parameters of the game, as the rules state them."""

    @abc.abstractmethod
    def initial_state(self, key: jax.Array, params: P) -> S:
        """Return the state in which an episode starts; `time` and `score` are zero (see `start_fields`)."""

    @abc.abstractmethod
    def transition(self, key: jax.Array, state: S, action: jax.Array, params: P) -> Transition[S]:
        """Apply `action`, int32[], and return (state, reward float32[], terminated bool[]). The clock is not its affair."""

    @abc.abstractmethod
    def draw(self, state: S) -> jax.Array:
        """Return the frame, uint8[obs_size, obs_size, 3], that `partial_obs` asks for."""

    # What a game may write, too.

    def glimpse(self, state: S) -> Glimpse:
        """Return what the frame of this view tells of a state, as a program could read it from the pixels at 128 px."""
        raise LookupError(f"{self.name} does not say what its frames tell: it does not define glimpse")

    def expert_action(self, key: jax.Array, state: S, params: P) -> jax.Array:
        """Return the action, int32[], of a player that may look at the whole state; see `popgym_arcade.experts`."""
        raise LookupError(f"{self.name} has no expert: it does not define expert_action")

    def best_return(self, state: S, params: P) -> jax.Array:
        """Return the best return, float32[], that can be had from a first state, with the default rewards.

        1, unless the game says otherwise.
        """
        return jnp.ones((), jnp.float32)

    # What is the same for all games.

    @property
    def name(self) -> str:
        """The name of the game with its difficulty, e.g. `BattleShipEasy`."""
        return type(self).__name__ + self.difficulty

    @property
    def goal(self) -> str:
        """The goal, in one line: the first line of the game's docstring."""
        return (type(self).__doc__ or "").strip().partition("\n")[0]

    @property
    def twin(self) -> Self:
        """The same game in the other view. The two share states and params."""
        return dataclasses.replace(self, partial_obs=not self.partial_obs)

    @property
    def num_actions(self) -> int:
        """The number of actions, 5 in every game."""
        return len(Action)

    @property
    def max_steps_in_episode(self) -> int:
        """The clock of the default params: an episode is truncated after this many steps."""
        return int(np.asarray(self.default_params.max_steps_in_episode))

    def action_space(self, params: P | None = None) -> spaces.Discrete:
        """Return `Discrete(5)`, the same for all games."""
        return spaces.Discrete(self.num_actions)

    def observation_space(self, params: P | None = None) -> spaces.Box:
        """Return the space of all uint8[obs_size, obs_size, 3]."""
        return spaces.Box(0, 255, (self.obs_size, self.obs_size, 3), np.uint8)

    @_jit
    def reset(self, key: jax.Array, params: P | None = None) -> tuple[jax.Array, S]:
        """Start an episode.

        Args:
            key: one JAX random key, new-style (`jax.random.key`) or old-style (`jax.random.PRNGKey`).
            params: the parameters of the game, `default_params` if left out.

        Returns:
            (observation uint8[obs_size, obs_size, 3], state).

        Raises:
            TypeError: when traced, if `key` is not one random key.
        """
        _check_key(key, "reset", "(0, None)")
        state = self.initial_state(key, self._checked_params(params))
        return self._observe(state), state

    def reset_env(self, key: jax.Array, params: P | None = None) -> tuple[jax.Array, S]:
        """Start an episode; the same as `reset`."""
        return self.reset(key, params)

    @compiled_step
    def step(self, key: jax.Array, state: S, action: ArrayLike, params: P | None = None) -> TimeStep[S]:
        """Take one step; where it ends the episode, return the next episode's first observation and state.

        Args:
            key: one JAX random key.
            state: the state to start from, of either view.
            action: int[], see the class.
            params: the parameters of the game, `default_params` if left out.

        Returns:
            (observation, state, reward float32[], done bool[], info), where info holds `terminated` bool[] (the rules
            ended the episode), `truncated` bool[] (the clock did and the rules did not), `discount` float32[] (0 where
            terminated, else 1) and `final_state`, the state before any reset. To bootstrap from a truncated episode,
            draw it: `env.get_obs(info["final_state"])`.

        Raises:
            TypeError: when traced, if `key` is not one random key or `action` not an integer scalar.
        """
        params = self._checked_params(params)
        state, reward, done, info, key_reset = self._advance(key, state, action, params)
        fresh = self.initial_state(key_reset, params)
        state = jax.tree.map(lambda old, new: jnp.where(done, new, old), state, fresh)
        return self._observe(state), state, reward, done, info

    @compiled_step
    def step_env(self, key: jax.Array, state: S, action: ArrayLike, params: P | None = None) -> TimeStep[S]:
        """Take one step without auto-reset; otherwise as `step`."""
        params = self._checked_params(params)
        state, reward, done, info, _ = self._advance(key, state, action, params)
        return self._observe(state), state, reward, done, info

    @_jit
    def get_obs(self, state: S, params: P | None = None) -> jax.Array:
        """Draw a state, of either view, as this view shows it: uint8[obs_size, obs_size, 3]."""
        self._check_state(state)
        return self._observe(state)

    def _advance(
        self, key: jax.Array, state: S, action: ArrayLike, params: P
    ) -> tuple[S, jax.Array, jax.Array, dict[str, Any], jax.Array]:
        _check_key(key, "step", "(0, 0, 0, None)")
        self._check_state(state)
        action = _checked_action(action)
        key_transition, key_reset = jax.random.split(key)
        state, reward, terminated = self.transition(key_transition, state, action, params)
        terminated = jnp.asarray(terminated, bool)
        state = state.replace(time=state.time + 1)
        truncated = ~terminated & (state.time >= jnp.asarray(params.max_steps_in_episode))
        info = {
            "terminated": terminated,
            "truncated": truncated,
            "discount": 1.0 - terminated.astype(jnp.float32),
            "final_state": state,
        }
        return state, reward, terminated | truncated, info, key_reset

    @functools.cached_property
    def state_like(self) -> S:
        """The shapes and dtypes of a state's leaves."""
        return jax.eval_shape(lambda: self.initial_state(jax.random.key(0), self.default_params))

    def _check_state(self, state: S) -> None:
        if type(state) is not type(self.state_like):
            raise TypeError(
                f"state must be a {type(self.state_like).__name__}, as {self.name} returns it, got {_kind(state)}"
            )
        for name, wanted in vars(self.state_like).items():
            if (got := _kind(getattr(state, name))) != _kind(wanted):
                raise TypeError(
                    f"state.{name} must be {_kind(wanted)} in {self.name}, got {got}; for a batch of states use jax.vmap"
                )

    def _checked_params(self, params: P | None) -> P:
        default = self.default_params
        if params is None:
            return default
        if type(params) is not type(default):
            raise TypeError(f"params must be a {type(default).__name__}, got {type(params).__name__}")
        checked = {}
        for name, wanted in vars(default).items():
            value = getattr(params, name)
            if not isinstance(value, int | float | np.generic | np.ndarray | jax.Array):
                raise TypeError(f"params.{name} must be {_kind(wanted)}, got {value!r}")
            if np.shape(value) != np.shape(wanted):
                raise TypeError(
                    f"params.{name} must be {_kind(wanted)}, got {_kind(value)}; for a batch of params use jax.vmap"
                )
            dtype, given = jnp.result_type(wanted), jnp.result_type(value)
            if any(jnp.issubdtype(given, kind) and not jnp.issubdtype(dtype, kind) for kind in (jnp.bool_, jnp.floating)):
                raise TypeError(f"params.{name} must be {_kind(wanted)}, got {_kind(value)}")
            checked[name] = jnp.asarray(value, dtype)
        return params.replace(**checked)

    def _observe(self, state: S) -> jax.Array:
        # The views are different programs to XLA. Without the barrier it may fuse the rules into the drawing of one of
        # them and round differently there.
        return self.draw(jax.lax.optimization_barrier(state))


def start_fields() -> dict[str, jax.Array]:
    """The fields that begin at zero in every game: `SomeState(**start_fields(), ...)`."""
    return {"time": jnp.zeros((), jnp.int32), "score": jnp.zeros((), jnp.int32)}


def _kind(value: Any) -> str:
    """Name the type of a value, arrays by dtype and shape: "int32[2]"."""
    if hasattr(value, "dtype") and hasattr(value, "shape"):
        return f"{value.dtype}[{', '.join(map(str, value.shape))}]"
    return type(value).__name__


def _check_key(key: jax.Array, method: str, in_axes: str) -> None:
    dtype = getattr(key, "dtype", None)
    is_typed = dtype is not None and jnp.issubdtype(dtype, jax.dtypes.prng_key)
    is_raw = dtype == np.uint32
    if not (is_typed or is_raw) or np.ndim(key) != int(is_raw):
        raise TypeError(
            f"key must be one JAX random key, such as jax.random.key(0), got {_kind(key)}; "
            f"for a batch of keys use jax.vmap(env.{method}, in_axes={in_axes})"
        )


def _within_32_bits(action: ArrayLike) -> ArrayLike:
    """Return the action, or, if it is a Python or NumPy integer beyond 32 bits, one that does nothing, too."""
    number = action[()] if isinstance(action, np.ndarray) else action
    return action if not isinstance(number, int | np.integer) or -(2**31) <= int(number) < 2**31 else NO_OP


def _checked_action(action: ArrayLike) -> jax.Array:
    is_number = isinstance(action, int) and not isinstance(action, bool)
    is_array = jnp.issubdtype(getattr(action, "dtype", np.dtype(bool)), jnp.integer) and np.shape(action) == ()
    if not is_number and not is_array:
        raise TypeError(
            f"action must be an integer scalar from 0 to 4, got {_kind(action)}; "
            "for a batch of actions use jax.vmap(env.step, in_axes=(0, 0, 0, None))"
        )
    action = jnp.asarray(action)
    return jnp.where((action >= 0) & (action < NO_OP), action, NO_OP).astype(jnp.int32)
