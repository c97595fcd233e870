"""BattleShip: find the fleet."""

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
    Readout,
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

SHIPS = (4, 3, 3, 2)
SEA, MISS, HIT = range(3)
"""The marks of a cell: not shot, a miss, a hit."""
_CURSOR = 3  # added to the number of a glyph, gives the same one under the cursor


@pytree
class BattleShipParams(Params):
    """The parameters of BattleShip."""

    hit_reward: ArrayLike
    """For the first shot at a cell with a ship, float32[]."""
    miss_reward: ArrayLike
    """For the first shot at a cell without a ship, float32[]."""
    repeat_reward: ArrayLike
    """For each shot at a cell shot before, float32[]."""


@pytree
class BattleShipState(State):
    """The state of BattleShip, of a board with `side` rows and columns."""

    cursor: jax.Array
    """Where the next shot goes, int32[2] of (row, col). Public."""
    wasted: jax.Array
    """Misses and shots at cells shot before, together, int32[]. Public."""
    shots: jax.Array
    """The cells shot, bool[side, side]. Public in the MDP with what was hit; the POMDP hides all but the cursor's."""
    ships: jax.Array
    """The cells with ships, bool[side, side]. Never shown where no shot has fallen."""


@pytree
class BattleShipGlimpse(Glimpse):
    """The contents of a frame of BattleShip."""

    cursor: jax.Array
    """Where the next shot goes, int32[2] of (row, col)."""
    wasted: jax.Array
    """Misses and shots at cells shot before, together, int32[]."""
    marks: jax.Array
    """SEA, MISS or HIT for each cell, int32[side, side]; in the POMDP SEA everywhere but under the cursor."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class BattleShip(Environment[BattleShipState, BattleShipParams]):
    """Find the fleet with few shots.

    Board: 8 / 10 / 12 squared. Ships of length 4, 3, 3 and 2, laid in this order, each random among all its
        placements, horizontal or vertical, that neither overlap nor touch a ship before it, not even diagonally. The
        cursor starts on a random cell.
    Actions: the arrows move the cursor, the board's edge stops it; fire shoots at its cell.
    End: terminated when all 12 ship cells are hit, or after cells / 2 wasted shots, which are misses and shots at cells
        shot before; truncated after 3 * cells steps.
    Reward: +1/12 for a new hit, -1 / cells for a new miss, -2 / cells for a shot at a cell shot before. The return lies in
        [-1, 1], the best one is 1.
    MDP frame: the cursor and every shot, X for hits and O for misses.
    POMDP frame: the cursor and the mark under it. Both show how many shots are wasted, and the score.
    Memory: which cells have been shot, and which of them were hits, to the end: a mark is seen again only when the cursor
        comes back to it. The score tells that a shot hit, not where.
    Memory length: all of the episode.
    Winning: shoot beside what was hit until that ship is sunk, never beside a sunk one, and nowhere twice; search where most
        of the placements lie that the shots so far leave open. The expert knows the fleet and goes from ship cell to
        nearest ship cell.
    """

    difficulties = LEVELS
    version = 1

    @property
    def side(self) -> int:
        """Rows and columns of the board."""
        return {"Easy": 8, "Medium": 10, "Hard": 12}[self.difficulty]

    @property
    def max_wasted(self) -> int:
        """The wasted shots that end the game."""
        return self.side**2 // 2

    @property
    def default_params(self) -> BattleShipParams:
        """See the class."""
        return BattleShipParams(
            max_steps_in_episode=np.int32(3 * self.side**2),
            hit_reward=np.float32(1 / sum(SHIPS)),
            miss_reward=np.float32(-1 / self.side**2),
            repeat_reward=np.float32(-2 / self.side**2),
        )

    def initial_state(self, key: jax.Array, params: BattleShipParams) -> BattleShipState:
        """Hide the fleet and place the cursor."""
        bits = sampling.words(key, (1 + len(SHIPS),))
        everywhere = board.rectangle((0, 0), (self.side, self.side), self.side)
        lengths = jnp.asarray(SHIPS, jnp.int32)
        _, ships = sampling.fold(self._lay, (everywhere, jnp.zeros_like(everywhere)), (bits[1:], lengths))
        return BattleShipState(
            **start_fields(),
            cursor=jnp.stack(sampling.choose(bits[0], everywhere, self.side)),
            wasted=jnp.zeros((), jnp.int32),
            shots=jnp.zeros((self.side, self.side), bool),
            ships=sampling.unpack(ships, self.side),
        )

    def _lay(self, cells: tuple[jax.Array, jax.Array], ship: tuple[jax.Array, jax.Array]) -> tuple[jax.Array, jax.Array]:
        """Lay a ship, given as a random word and a length, on one of its places: (free cells, ships), uint32[side] both."""
        free, ships = cells
        word, length = ship
        to_right = to_below = free
        for step in range(1, max(SHIPS)):
            further = step < length
            to_right &= jnp.where(further, free >> np.uint32(step), free)
            to_below &= jnp.where(further, jnp.append(free[step:], np.zeros(step, np.uint32)), free)
        line, col = sampling.choose(word, jnp.concatenate([to_right, to_below]), self.side)
        lies = line < self.side
        row = jnp.where(lies, line, line - self.side)
        height, width = jnp.where(lies, 1, length), jnp.where(lies, length, 1)
        around = board.rectangle((row - 1, col - 1), (height + 2, width + 2), self.side)
        return free & ~around, ships | board.rectangle((row, col), (height, width), self.side)

    def transition(
        self, key: jax.Array, state: BattleShipState, action: jax.Array, params: BattleShipParams
    ) -> Transition[BattleShipState]:
        """Move or shoot."""
        cursor = board.move(state.cursor, action, self.side)
        fire = action == Action.FIRE
        repeated = fire & board.look_up(state.shots, cursor)
        hit = fire & ~repeated & board.look_up(state.ships, cursor)
        missed = fire & ~repeated & ~hit
        shots = state.shots | (fire & board.at(cursor, self.side))
        wasted = state.wasted + (missed | repeated)

        rewards = jnp.stack([jnp.asarray(params.hit_reward), params.miss_reward, params.repeat_reward])
        hits, misses = jnp.sum(shots & state.ships), jnp.sum(shots & ~state.ships)
        score = percent(jnp.sum(jnp.stack([hits, misses, wasted - misses]) * rewards))
        reward = jnp.sum(jnp.stack([hit, missed, repeated]) * rewards)
        ended = (hits == sum(SHIPS)) | (wasted == self.max_wasted)
        return state.replace(cursor=cursor, wasted=wasted, shots=shots, score=score), reward, ended

    def glimpse(self, state: BattleShipState) -> BattleShipGlimpse:
        """Read the board, or the cell under the cursor."""
        shown = state.shots & board.at(state.cursor, self.side) if self.partial_obs else state.shots
        marks = jnp.where(shown, jnp.where(state.ships, HIT, MISS), SEA)
        return BattleShipGlimpse(score=state.score, cursor=state.cursor, wasted=state.wasted, marks=marks)

    def draw(self, state: BattleShipState) -> jax.Array:
        """Show the board."""
        screen, grid, wasted = self.layout
        seen = self.glimpse(state)
        shots = [] if self.partial_obs else [grid.fill(seen.marks)]
        cursor = grid.stamp(seen.cursor, _CURSOR + board.look_up(seen.marks, seen.cursor))
        return screen.render(screen.score(seen.score), wasted.show(seen.wasted), *shots, cursor)

    def expert_action(self, key: jax.Array, state: BattleShipState, params: BattleShipParams) -> jax.Array:
        """Shoot the nearest ship cell not hit yet."""
        distances = board.distances(state.cursor, self.side)
        return board.walk_and_fire(state.cursor, jnp.where(state.ships & ~state.shots, distances, 4 * self.side))

    @functools.cached_property
    def layout(self) -> tuple[Screen, Grid, Readout]:
        """The screen of this view, laid out once."""
        screen = Screen(self.obs_size, type(self).__name__)
        grid = screen.board(self.side, _glyphs, fillable=_CURSOR)
        return screen, grid, board.allowance_readout(screen, self.max_wasted)


def _glyphs(size: int) -> Sequence[np.ndarray]:
    """Draw the cells in the order of the constants above, then the same under the cursor."""
    sea = board.cell(size, palette.mix(palette.FIELD, palette.BLUE, 0.45))

    miss, hit = sea.copy(), sea.copy()
    if size >= 8:
        shapes.paint(board.inside(miss), palette.WHITE, shapes.ring(0.5, 0.5, 0.42, 0.24))
        shapes.paint(board.inside(hit), palette.ORANGE, shapes.cross(0.04, 0.26))
    else:  # too small for an X and an O: a bright block and a faint one
        board.inside(miss)[:] = palette.mix(palette.WHITE, palette.BLUE, 0.35)
        board.inside(hit)[:] = palette.ORANGE

    plain = [sea, miss, hit]
    return plain + [board.with_cursor(image) for image in plain]
