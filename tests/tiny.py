"""A game as small as can be, for tests of what all games share."""

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade.environment import Environment, Glimpse, Params, State, percent, pytree, start_fields
from popgym_arcade.players import Player


@pytree
class TinyState(State):
    """Its fields are public, but for the target, which the POMDP hides after the first frame."""

    target: jax.Array
    hits: jax.Array


@pytree
class TinyGlimpse(Glimpse):
    """What a frame tells."""

    shown: jax.Array
    hits: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tiny(Environment[TinyState, Params]):
    """Remember an arrow and repeat it ten times; fire gives up."""

    @property
    def default_params(self) -> Params:
        return Params(max_steps_in_episode=np.int32(10))

    def initial_state(self, key: Any, params: Any) -> TinyState:
        target = jax.random.randint(key, (), 0, 4)
        return TinyState(**start_fields(), target=target, hits=jnp.zeros((), jnp.int32))

    def transition(self, key: Any, state: Any, action: Any, params: Any) -> Any:
        hit = action == state.target
        hits = state.hits + hit
        reward = jnp.where(hit, jnp.float32(0.1), 0)
        return state.replace(hits=hits, score=percent(0.1 * hits)), reward, action == 4

    def glimpse(self, state: Any) -> TinyGlimpse:
        shown = jnp.where((state.time == 0) | (not self.partial_obs), state.target + 1, 0)
        return TinyGlimpse(score=state.score, shown=shown, hits=state.hits)

    def draw(self, state: Any) -> Any:
        told = self.glimpse(state)
        column = jnp.where(np.arange(self.obs_size) < 32, 40 * told.shown, 20 * told.hits)
        return jnp.broadcast_to(column[:, None], (self.obs_size, self.obs_size, 3)).astype(jnp.uint8)

    def expert_action(self, key: Any, state: Any, params: Any) -> Any:
        return state.target


def decode(frame: np.ndarray) -> dict[str, Any]:
    hits = int(frame[0, 40, 0]) // 20
    return {"target": int(frame[0, 0, 0]) // 40 - 1, "hits": hits, "score": 10 * hits}


def resample_hidden(key: Any, state: Any) -> Any:
    target = jax.random.randint(key, (), 0, 4)
    return state.replace(target=jnp.where(state.time == 0, state.target, target))


def _remember(key: Any, known: Any, told: Any) -> Any:
    known = jnp.where(told.shown > 0, told.shown - 1, known)
    return known, known


memory_player = Player(jnp.zeros((), jnp.int32), _remember)
