"""MineSweeper: clear the field."""

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
    font,
    palette,
    percent,
    pytree,
    sampling,
    shapes,
    start_fields,
)

MINE = 9  # in `MineSweeperState.field`, where the numbers of neighbours go to 8
COVERED = -1  # in `MineSweeperGlimpse.field`
_GLYPH = 1  # added to what a glimpse tells of a cell, gives its glyph
_CURSOR = _GLYPH + MINE + 1  # added to the number of a glyph, gives the same one under the cursor


@pytree
class MineSweeperParams(Params):
    """The parameters of MineSweeper."""

    safe_reward: ArrayLike
    """For uncovering a safe cell, float32[]."""
    repeat_reward: ArrayLike
    """For firing at an uncovered cell, float32[]."""


@pytree
class MineSweeperState(State):
    """The state of MineSweeper, of a board with `side` rows and columns."""

    cursor: jax.Array
    """Where the next shot goes, int32[2] of (row, col). Public."""
    repeats: jax.Array
    """Shots at uncovered cells, int32[]. Public."""
    uncovered: jax.Array
    """The cells uncovered, bool[side, side]. Public in the MDP with what they hold; the POMDP hides all but the cursor's."""
    field: jax.Array
    """What each cell holds, int8[side, side]: how many of its 8 neighbours are mines, or 9 for a mine. Never shown where
    covered."""
    spare: jax.Array
    """The cell that takes the mine, if the first cell to be uncovered holds one, int32[2]. Never shown."""


@pytree
class MineSweeperGlimpse(Glimpse):
    """The contents of a frame of MineSweeper."""

    cursor: jax.Array
    """Where the next shot goes, int32[2] of (row, col)."""
    repeats: jax.Array
    """Shots at uncovered cells, int32[]."""
    field: jax.Array
    """What each cell shows, int32[side, side]: COVERED, or what it holds as in `MineSweeperState.field`; in the POMDP
    COVERED everywhere but under the cursor."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class MineSweeper(Environment[MineSweeperState, MineSweeperParams]):
    """Uncover every cell that hides no mine.

    Board: 4 / 6 / 8 squared with 3 / 6 / 10 mines on random cells. The cursor starts on a random cell. The first cell that
        is uncovered is never a mine: if it holds one, that moves to a spare cell, drawn at the start among the cells without
        a mine, and the numbers follow.
    Actions: the arrows move the cursor, the board's edge stops it, mines do no harm; fire uncovers its cell.
    End: terminated when all safe cells are uncovered, on uncovering a mine, or after cells / 2 repeats; truncated after
        2 * cells + 2 * side steps.
    Reward: 1 / safe cells for uncovering a safe cell, -2 / cells for firing at an uncovered cell; a mine takes back all that
        safe cells have paid. The return lies in [-1, 1], the best one is 1.
    MDP frame: the cursor and, on every uncovered cell, how many of its 8 neighbours are mines.
    POMDP frame: the cursor and what is under it. Both show how many repeats are used up, and the score.
    Memory: which cells are uncovered, and their numbers, to the end: where a mine must be follows from several numbers, of
        which one at a time is seen.
    Memory length: all of the episode.
    Winning: uncover the cells that the numbers show to be safe; where they leave it open, guess, or stop, if a guess does
        not pay: what has been gained is lost with a mine. The expert knows the mines and uncovers the safe cells line by
        line, to and fro.
    """

    difficulties = LEVELS
    version = 1

    @property
    def side(self) -> int:
        """Rows and columns of the board."""
        return {"Easy": 4, "Medium": 6, "Hard": 8}[self.difficulty]

    @property
    def mines(self) -> int:
        """How many mines there are."""
        return {"Easy": 3, "Medium": 6, "Hard": 10}[self.difficulty]

    @property
    def max_repeats(self) -> int:
        """The repeats that end the game."""
        return self.side**2 // 2

    @property
    def default_params(self) -> MineSweeperParams:
        """See the class."""
        return MineSweeperParams(
            max_steps_in_episode=np.int32(2 * self.side**2 + 2 * self.side),
            safe_reward=np.float32(1 / (self.side**2 - self.mines)),
            repeat_reward=np.float32(-2 / self.side**2),
        )

    def initial_state(self, key: jax.Array, params: MineSweeperParams) -> MineSweeperState:
        """Lay the mines and place the cursor."""
        bits = sampling.words(key, (2 + self.mines,))
        everywhere = board.rectangle((0, 0), (self.side, self.side), self.side)

        def lay(free: jax.Array, word: jax.Array) -> jax.Array:
            return free & ~board.rectangle(sampling.choose(word, free, self.side), (1, 1), self.side)

        free = sampling.fold(lay, everywhere, bits[2:])
        return MineSweeperState(
            **start_fields(),
            cursor=jnp.stack(sampling.choose(bits[0], everywhere, self.side)),
            repeats=jnp.zeros((), jnp.int32),
            uncovered=jnp.zeros((self.side, self.side), bool),
            field=_numbered(~sampling.unpack(free, self.side)),
            spare=jnp.stack(sampling.choose(bits[1], free, self.side)),
        )

    def transition(
        self, key: jax.Array, state: MineSweeperState, action: jax.Array, params: MineSweeperParams
    ) -> Transition[MineSweeperState]:
        """Move or uncover."""
        cursor = board.move(state.cursor, action, self.side)
        here = board.at(cursor, self.side)
        fire = action == Action.FIRE

        mines = state.field == MINE
        spared = fire & jnp.any(mines & here) & ~jnp.any(state.uncovered)
        mines = jnp.where(spared, (mines & ~here) | board.at(state.spare, self.side), mines)
        uncovered = state.uncovered | (fire & here)
        repeated = fire & jnp.any(state.uncovered & here)
        exploded = fire & jnp.any(mines & here)
        repeats = state.repeats + repeated
        cleared = jnp.sum(uncovered & ~mines)

        gained = jnp.where(exploded, -cleared, fire & ~repeated)
        reward = gained * params.safe_reward + repeated * params.repeat_reward
        score = percent(jnp.where(exploded, 0, cleared) * params.safe_reward + repeats * params.repeat_reward)
        ended = exploded | (cleared == self.side**2 - self.mines) | (repeats == self.max_repeats)
        state = state.replace(cursor=cursor, repeats=repeats, uncovered=uncovered, field=_numbered(mines), score=score)
        return state, reward.astype(jnp.float32), ended

    def glimpse(self, state: MineSweeperState) -> MineSweeperGlimpse:
        """Read the board, or the cell under the cursor."""
        shown = state.uncovered & board.at(state.cursor, self.side) if self.partial_obs else state.uncovered
        field = jnp.where(shown, state.field.astype(jnp.int32), COVERED)
        return MineSweeperGlimpse(score=state.score, cursor=state.cursor, repeats=state.repeats, field=field)

    def draw(self, state: MineSweeperState) -> jax.Array:
        """Show the board."""
        screen, grid, repeats = self.layout
        seen = self.glimpse(state)
        numbers = [] if self.partial_obs else [grid.fill(_GLYPH + seen.field)]
        cursor = grid.stamp(seen.cursor, _CURSOR + _GLYPH + board.look_up(seen.field, seen.cursor))
        return screen.render(screen.score(seen.score), repeats.show(seen.repeats), *numbers, cursor)

    def expert_action(self, key: jax.Array, state: MineSweeperState, params: MineSweeperParams) -> jax.Array:
        """Uncover the safe cells line by line, to and fro: no more than 2 * cells + side steps, wherever one starts."""
        order = np.arange(self.side**2, dtype=np.int32).reshape(self.side, self.side)
        order[1::2] = order[1::2, ::-1].copy()
        left = ~state.uncovered & (state.field != MINE)
        return board.walk_and_fire(state.cursor, jnp.where(left, order, self.side**2))

    @functools.cached_property
    def layout(self) -> tuple[Screen, Grid, Readout]:
        """The screen of this view, laid out once."""
        screen = Screen(self.obs_size, type(self).__name__)
        grid = screen.board(self.side, _glyphs, fillable=_CURSOR)
        return screen, grid, board.allowance_readout(screen, self.max_repeats)


def _numbered(mines: jax.Array) -> jax.Array:
    """What each cell of a board with these mines, bool[side, side], holds: int8[side, side]."""
    return jnp.where(mines, np.int8(MINE), board.around(mines))


def _glyphs(size: int) -> Sequence[np.ndarray]:
    """Draw the cells in the order of the constants above, then the same under the cursor."""
    covered = board.cell(size, palette.mix(palette.FIELD, palette.GREY, 0.55))
    shine = max(1, size // 12)
    covered[:shine, :-1] = covered[:-1, :shine] = palette.mix(palette.FIELD, palette.WHITE, 0.6)
    ground = board.cell(size, palette.mix(palette.FIELD, palette.NIGHT, 0.4))

    zero = ground.copy()
    shapes.paint(board.inside(zero), palette.GREY, shapes.disc(0.5, 0.5, 0.14))
    digits = list(enumerate(palette.DISTINCT, 1))
    numbers = [_with_digit(ground, number, colour) for number, colour in digits]

    mine = shapes.tile(size, size, palette.RED)
    spikes = shapes.union(shapes.cross(0.14, 0.12), shapes.bar(0.5, 0, 0.5, 1, 0.12), shapes.bar(0, 0.5, 1, 0.5, 0.12))
    shapes.paint(board.inside(mine), palette.NIGHT, shapes.union(shapes.disc(0.5, 0.5, 0.38), spikes))

    plain = [covered, zero, *numbers, mine]
    chosen = [board.with_cursor(image) for image in plain]
    if size < 9:  # the frame would touch the digits: they are inverted instead
        inverted = [_with_digit(shapes.tile(size, size, colour), number, palette.NIGHT) for number, colour in digits]
        chosen[_GLYPH + 1 : _GLYPH + MINE] = inverted
    return plain + chosen


def _with_digit(cell: np.ndarray, number: int, colour: palette.Colour) -> np.ndarray:
    """Write a number into a copy of a cell's image."""
    image = cell.copy()
    shapes.stencil(image, colour, font.glyph(str(number), max(5, round(0.62 * len(image)))))
    return image
