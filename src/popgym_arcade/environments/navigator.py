"""Navigator: fetch the treasure."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax.typing import ArrayLike

from popgym_arcade.environments import board
from popgym_arcade.game import (
    LEVELS,
    Action,
    Environment,
    Glimpse,
    Grid,
    Params,
    Screen,
    State,
    Transition,
    palette,
    percent,
    pytree,
    sampling,
    shapes,
    start_fields,
)

BLOCKS = 7
_EMPTY, _TREASURE, _TNT = range(3)
_AGENT = 3  # added to the number of a glyph, gives the same one with the agent on it


@pytree
class NavigatorParams(Params):
    """The parameters of Navigator."""

    treasure_reward: ArrayLike
    """For firing on the treasure, float32[]."""
    tnt_reward: ArrayLike
    """For entering a block of TNT, float32[]."""
    clock_reward: ArrayLike
    """For every other step its share of this, one part in `max_steps_in_episode`, float32[]."""


@pytree
class NavigatorState(State):
    """The state of Navigator, of a board with `side` rows and columns."""

    agent: jax.Array
    """Where the agent stands, int32[2] of (row, col). Public."""
    treasure: jax.Array
    """Where the treasure lies, int32[2]. Hidden in the POMDP after the first frame."""
    tnt: jax.Array
    """The cells with TNT, bool[side, side]. Hidden in the POMDP after the first frame."""


@pytree
class NavigatorGlimpse(Glimpse):
    """The contents of a frame of Navigator."""

    agent: jax.Array
    """Where the agent stands, int32[2] of (row, col)."""
    treasure: jax.Array
    """The cell with the treasure, bool[side, side]; none, where it is hidden."""
    tnt: jax.Array
    """The cells with TNT, bool[side, side]; none, where they are hidden."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Navigator(Environment[NavigatorState, NavigatorParams]):
    """Fetch the treasure and keep away from the TNT.

    Board: 8 / 10 / 12 squared. The agent starts on a random cell, the treasure lies on a random other one, then 7
        blocks of TNT are laid one by one, each on a random cell that is free and touches no TNT before it, not even
        diagonally. So the treasure can always be reached.
    Actions: the arrows move the agent, the board's edge stops it; fire takes the treasure, if the agent stands on it.
    End: terminated when the agent takes the treasure or enters TNT; truncated after `side * side` steps.
    Reward: +1 for the treasure, -0.5 for TNT, -0.5 / steps on the clock for every other step. The return lies in [-1, 1];
        the best one is 1 minus the price of the shortest way.
    MDP frame: agent, treasure and TNT.
    POMDP frame: the same in the first frame; later the agent alone, on an empty grid, also on treasure or TNT.
    Memory: where the treasure and the TNT on the way to it lie, from the first frame until the treasure is taken.
    Memory length: all of the episode, of which only the first frame has anything to remember.
    Winning: walk around the TNT the shortest way and fire on the treasure. The expert does just that.
    """

    difficulties = LEVELS
    version = 1

    @property
    def side(self) -> int:
        """Rows and columns of the board."""
        return {"Easy": 8, "Medium": 10, "Hard": 12}[self.difficulty]

    @property
    def default_params(self) -> NavigatorParams:
        """See the class."""
        return NavigatorParams(
            max_steps_in_episode=np.int32(self.side**2),
            treasure_reward=np.float32(1),
            tnt_reward=np.float32(-0.5),
            clock_reward=np.float32(-0.5),
        )

    def initial_state(self, key: jax.Array, params: NavigatorParams) -> NavigatorState:
        """Place the agent, the treasure, and the TNT."""
        bits = sampling.words(key, (2 + BLOCKS,))
        free = board.rectangle((0, 0), (self.side, self.side), self.side)
        agent = sampling.choose(bits[0], free, self.side)
        free &= ~board.rectangle(agent, (1, 1), self.side)
        treasure = sampling.choose(bits[1], free, self.side)
        free &= ~board.rectangle(treasure, (1, 1), self.side)

        def lay(cells: tuple[jax.Array, jax.Array], word: jax.Array) -> tuple[jax.Array, jax.Array]:
            free, tnt = cells
            row, col = sampling.choose(word, free, self.side)
            around = board.rectangle((row - 1, col - 1), (3, 3), self.side)
            return free & ~around, tnt | board.rectangle((row, col), (1, 1), self.side)

        _, tnt = sampling.fold(lay, (free, jnp.zeros_like(free)), bits[2:])
        return NavigatorState(
            **start_fields(),
            agent=jnp.stack(agent),
            treasure=jnp.stack(treasure),
            tnt=sampling.unpack(tnt, self.side),
        )

    def transition(
        self, key: jax.Array, state: NavigatorState, action: jax.Array, params: NavigatorParams
    ) -> Transition[NavigatorState]:
        """Move or fire."""
        agent = board.move(state.agent, action, self.side)
        dead = board.look_up(state.tnt, agent)
        won = (action == Action.FIRE) & jnp.all(agent == state.treasure)
        ended = dead | won
        last = jnp.where(won, params.treasure_reward, jnp.where(dead, params.tnt_reward, 0.0)).astype(jnp.float32)
        steps = state.time + ~ended  # those that cost
        score = percent(steps * _step_reward(params) + last)
        reward = jnp.where(ended, last, _step_reward(params))
        return state.replace(agent=agent, score=score), reward, ended

    def glimpse(self, state: NavigatorState) -> NavigatorGlimpse:
        """Read the board, or where the agent stands."""
        shown = (state.time == 0) | (not self.partial_obs)
        treasure = shown & board.at(state.treasure, self.side)
        return NavigatorGlimpse(score=state.score, agent=state.agent, treasure=treasure, tnt=shown & state.tnt)

    def draw(self, state: NavigatorState) -> jax.Array:
        """Show the board."""
        screen, grid = self.layout
        seen = self.glimpse(state)
        cells = jnp.where(seen.tnt, _TNT, jnp.where(seen.treasure, _TREASURE, _EMPTY))
        agent = grid.stamp(seen.agent, _AGENT + board.look_up(cells, seen.agent))
        return screen.render(screen.score(seen.score), grid.fill(cells), agent)

    def expert_action(self, key: jax.Array, state: NavigatorState, params: NavigatorParams) -> jax.Array:
        """Take a shortest way to the treasure."""
        ahead = [
            board.move(state.agent, jnp.asarray(action), self.side)
            for action in (Action.UP, Action.DOWN, Action.LEFT, Action.RIGHT)
        ]
        distances = self._distances(state)
        nearest = jnp.argmin(jnp.stack([board.look_up(distances, position) for position in ahead]))
        return jnp.where(jnp.all(state.agent == state.treasure), Action.FIRE, nearest).astype(jnp.int32)

    def best_return(self, state: NavigatorState, params: NavigatorParams) -> jax.Array:
        """1 minus the price of the shortest way."""
        way = board.look_up(self._distances(state), state.agent)
        return jnp.asarray(params.treasure_reward + way * _step_reward(params), jnp.float32)

    def _distances(self, state: NavigatorState) -> jax.Array:
        """The steps from each cell to the treasure around the TNT: int32[side, side]."""
        far = 2 * self.side**2
        start = jnp.where(board.at(state.treasure, self.side), 0, far).astype(jnp.int32)

        def spread(distances: jax.Array) -> jax.Array:
            padded = jnp.pad(distances, 1, constant_values=far)
            around = jnp.stack([padded[:-2, 1:-1], padded[2:, 1:-1], padded[1:-1, :-2], padded[1:-1, 2:]])
            return jnp.where(state.tnt, far, jnp.minimum(distances, 1 + jnp.min(around, 0)))

        def spreads(carry: tuple[jax.Array, jax.Array]) -> jax.Array:
            return jnp.any(carry[0] != carry[1])

        return jax.lax.while_loop(spreads, lambda carry: (carry[1], spread(carry[1])), (start, spread(start)))[0]

    @functools.cached_property
    def layout(self) -> tuple[Screen, Grid]:
        """The screen of this view, laid out once."""
        screen = Screen(self.obs_size, type(self).__name__)
        return screen, screen.board(self.side, _glyphs, fillable=_AGENT)


def _step_reward(params: NavigatorParams) -> jax.Array:
    clock = jnp.maximum(jnp.asarray(params.max_steps_in_episode, jnp.float32), 1.0)
    return jnp.asarray(params.clock_reward, jnp.float32) / clock


def _glyphs(size: int) -> Sequence[np.ndarray]:
    """Draw the cells in the order of the constants above, then the same with the agent."""
    empty = board.cell(size, palette.mix(palette.FIELD, palette.SKY, 0.14))

    treasure, tnt = empty.copy(), empty.copy()
    if size >= 8:
        middle = board.inside(treasure, 0.8)
        shapes.paint(middle, palette.YELLOW, shapes.diamond())
        shapes.paint(middle, palette.WHITE, shapes.polygon((0.5, 0.02), (0.62, 0.5), (0.5, 0.5), (0.24, 0.36)))
        middle = board.inside(tnt, 0.9)
        shapes.paint(middle, palette.VERMILLION, shapes.rounded(0.04, 0.04, 0.96, 0.96, 0.12))
        shapes.paint(middle, palette.WHITE, shapes.rectangle(0.04, 0.36, 0.96, 0.64))
        shapes.paint(middle, palette.NIGHT, shapes.rectangle(0.2, 0.44, 0.8, 0.56))
    else:  # too small for shapes: blocks
        treasure[:-1, :-1] = palette.YELLOW
        tnt[:-1, :-1] = palette.VERMILLION

    plain = [empty, treasure, tnt]
    # Over something it is drawn smaller, so that this can be seen.
    return [*plain, _with_agent(empty, 0.62), _with_agent(treasure, 0.42), _with_agent(tnt, 0.42)]


def _with_agent(cell: np.ndarray, share: float) -> np.ndarray:
    """Draw the agent, a round face that fills a share of the cell, or, in a small cell, a cross."""
    image = cell.copy()
    if len(image) >= 12:
        middle = board.inside(image, share)
        shapes.paint(middle, palette.NIGHT, shapes.disc(0.5, 0.5, 0.5))
        shapes.paint(middle, palette.SKY, shapes.disc(0.5, 0.5, 0.4))
        shapes.paint(middle, palette.NIGHT, shapes.union(shapes.disc(0.36, 0.42, 0.08), shapes.disc(0.64, 0.42, 0.08)))
    else:
        face = image[:-1, :-1]
        first, last = (len(face) - 1) // 2, len(face) // 2 + 1
        face[first:last] = face[:, first:last] = palette.SKY
    return image
