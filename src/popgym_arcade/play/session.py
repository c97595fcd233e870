"""A game as a person plays it, episode after episode. It knows no display."""

import concurrent.futures
import dataclasses
import zlib
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade import registration

_Program = Callable[..., Any]


class Session:
    """Episodes of one game, each given by its seed.

    What JAX has to compile is compiled in a thread, so that a display stays responsive: first what the first frame needs,
    the rest from `prepare` on. A method that needs a program waits for it.

    Args:
        game: a name that `make` knows.
        seed: that of the first episode, 0 to SEEDS - 1.
        obs_size: size of the frames in pixels, 64 to 512.
        partial_obs: the view to compile first.
    """

    def __init__(self, game: str, seed: int, obs_size: int = 128, partial_obs: bool = False) -> None:
        self.env, self.params = registration.make(game, partial_obs=partial_obs, obs_size=obs_size)
        self._worker = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="compile")
        self._programs: dict[_Program, concurrent.futures.Future[_Program]] = {}
        self._state_like = jax.eval_shape(self._start, _key(0))
        self.begin(seed)
        self.is_ready(partial_obs)

    def prepare(self) -> None:
        """Begin to compile what the second frame needs, and the other view."""
        count = np.int32(0)
        self._compiled(self._advance, _key(0), count, self._state_like, count)
        self._compiled(self._view(not self.env.partial_obs), self._state_like)

    def close(self) -> None:
        """Drop what is not compiled yet."""
        self._worker.shutdown(wait=False, cancel_futures=True)

    def begin(self, seed: int) -> None:
        """Start the episode of a seed."""
        self.seed = seed
        """The seed of this episode."""
        self.step = 0
        """Steps taken in it."""
        self.total = 0.0
        """The undiscounted return so far."""
        self.end = ""
        """The end of the episode, "terminated" or "truncated"; empty while it goes on."""
        self._key = _key(seed)
        self._state: Any = None

    def act(self, action: int) -> float:
        """Take a step, and return its reward. The episode must not have ended."""
        if self.end:
            raise RuntimeError("the episode has ended: begin another")
        arguments = self._key, np.int32(self.step), self.state, np.int32(action)
        self._state, reward, terminated, truncated = self._call(self._advance, *arguments)
        self.step += 1
        self.total += float(reward)
        self.end = "terminated" if terminated else "truncated" if truncated else ""
        return float(reward)

    @property
    def state(self) -> Any:
        """The state of the game."""
        if self._state is None:
            self._state = self._call(self._start, self._key)
        return self._state

    def is_ready(self, partial_obs: bool) -> bool:
        """Whether a frame of that view can be had without waiting; if not, it is being compiled."""
        start = self._compiled(self._start, self._key)
        draw = self._compiled(self._view(partial_obs), self._state_like)
        return start.done() and draw.done()

    def frame(self, partial_obs: bool) -> np.ndarray:
        """Draw the state in one of the views: uint8[obs_size, obs_size, 3]."""
        return np.asarray(self._call(self._view(partial_obs), self.state))

    def digest(self) -> str:
        """Return a checksum of the state's integers; floats differ between processors in their last bits."""
        leaves = [np.asarray(leaf) for leaf in jax.tree.leaves(self.state)]
        whole = [leaf.tobytes() for leaf in leaves if not jnp.issubdtype(leaf.dtype, jnp.floating)]
        return f"{zlib.crc32(b''.join(whole)):08x}"

    def _view(self, partial_obs: bool) -> _Program:
        return self._draw_pomdp if partial_obs else self._draw_mdp

    def _draw_mdp(self, state: Any) -> jax.Array:
        return dataclasses.replace(self.env, partial_obs=False).get_obs(state)

    def _draw_pomdp(self, state: Any) -> jax.Array:
        return dataclasses.replace(self.env, partial_obs=True).get_obs(state)

    def _start(self, key: jax.Array) -> Any:
        return self.env.reset(jax.random.fold_in(key, 0), self.params)[1]

    def _advance(self, key: jax.Array, count: jax.Array, state: Any, action: jax.Array) -> Any:
        key = jax.random.fold_in(key, 1 + count)
        _, state, reward, _, info = self.env.step_env(key, state, action, self.params)
        return state, reward, info["terminated"], info["truncated"]

    def _compiled(self, function: _Program, *arguments: Any) -> concurrent.futures.Future[_Program]:
        if function not in self._programs:
            self._programs[function] = self._worker.submit(lambda: jax.jit(function).lower(*arguments).compile())
        return self._programs[function]

    def _call(self, function: _Program, *arguments: Any) -> Any:
        return self._compiled(function, *arguments).result()(*arguments)


def _key(seed: int) -> jax.Array:
    # The generator is named, so that a log means the same whatever jax_default_prng_impl says.
    return jax.random.key(seed, impl="threefry2x32")
