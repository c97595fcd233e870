"""Tetris: clear ten lines."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.typing import ArrayLike

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
    font,
    palette,
    percent,
    pytree,
    sampling,
    shapes,
    start_fields,
)

ROWS, COLS = 20, 10
LINES = 10
"""The lines that win the game."""
_BOX = 4  # rows and columns of the box in which a piece turns
_START = 0, 3  # the corner of the box of a piece that appears
_WALL = 3  # columns by which a box may stick out of the board

# The pieces as they appear, in boxes of 3 or 4 cells; how many orientations they have; their colours.
_PIECES = (
    ("I", ".... #### .... ....", 2, palette.SKY),
    ("O", ".##. .##. .... ....", 1, palette.YELLOW),
    ("T", ".#. ### ...", 4, palette.PINK),
    ("S", ".## ##. ...", 2, palette.GREEN),
    ("Z", "##. .## ...", 2, palette.RED),
    ("J", "#.. ### ...", 4, palette.BLUE),
    ("L", "..# ### ...", 4, palette.AMBER),
)
PIECES = len(_PIECES)


def _turned(picture: str, orientations: int) -> np.ndarray:
    """Turn a piece clockwise, again and again: bool[4, 4, 4], the orientations repeated where there are fewer than 4."""
    piece = np.array([list(row) for row in picture.split()]) == "#"
    turns = [np.rot90(piece, -(turn % orientations)) for turn in range(4)]
    return np.stack([np.pad(turn, (0, _BOX - len(piece))) for turn in turns])


SHAPES = np.stack([_turned(picture, orientations) for _, picture, orientations, _ in _PIECES])
"""The cells of each piece in each orientation, bool[7, 4, 4, 4]."""
ORIENTATIONS = np.array([orientations for _, _, orientations, _ in _PIECES], np.int32)
_CELLS = np.argwhere(SHAPES)[:, 2:].reshape(PIECES, 4, 4, 2).astype(np.int32)  # (row, col) in the box
_MASKS = (SHAPES << np.arange(_BOX)).sum(-1).astype(np.int32)  # a row of the box as a number, bit by bit from the left

_INSIDE = np.int32((1 << COLS) - 1 << _WALL)  # the columns of the board, in a row given as a number

_EMPTY, _BLOCK, _PIECE = range(3)
_OVERLAP = _PIECE + PIECES  # the same, over a block

_WEIGHTS = np.array([-5, -1, -25, -7], np.int32)  # of the expert, on the features of `_outlook`
_WORTHLESS = -(10**6)  # less than any place


@pytree
class TetrisParams(Params):
    """The parameters of Tetris."""

    line_reward: ArrayLike
    """For each of the first ten lines, float32[]."""
    loss_reward: ArrayLike
    """For topping out, float32[]."""


@pytree
class TetrisState(State):
    """The state of Tetris. Pieces are numbered in the order I, O, T, S, Z, J, L."""

    board: jax.Array
    """The cells with locked blocks, bool[20, 10]. Public in the MDP, hidden in the POMDP."""
    piece: jax.Array
    """The falling piece, int32[]. Public."""
    orientation: jax.Array
    """The number of clockwise turns, int32[], less than it has orientations. Public."""
    corner: jax.Array
    """Where the box of 4 x 4 cells begins in which it turns, int32[2] of (row, col). Public."""
    previews: jax.Array
    """The pieces that come next, in their order, int32[previews]. Public."""
    bag: jax.Array
    """The pieces that are left in the bag, bool[7]. Public."""
    lines: jax.Array
    """Lines cleared, ten at most, int32[]. Public."""


@pytree
class TetrisGlimpse(Glimpse):
    """The contents of a frame of Tetris: all of the state that is public, in the POMDP with an empty board."""

    board: jax.Array
    piece: jax.Array
    orientation: jax.Array
    corner: jax.Array
    previews: jax.Array
    bag: jax.Array
    lines: jax.Array


@dataclasses.dataclass(frozen=True, kw_only=True)
class Tetris(Environment[TetrisState, TetrisParams]):
    """Stack the falling pieces and clear ten lines.

    Board: 20 x 10. Seven pieces, dealt from shuffled bags that hold one of each; 3 / 2 / 1 previews. A bag is shuffled
        piece by piece: what the previews need is drawn at random from what is left in it, and when nothing is left, there
        is the next bag.
    Pieces: I, S and Z have two orientations, O one, the others four. A piece turns in a box of 3 x 3 cells, O and I of
        4 x 4, and appears in rows 0 and 1, columns 3 to 6, flat side down, the box beginning at (0, 3).
    Actions: up turns the piece clockwise, left and right move it by one; a turn or move into a block or out of the board
        does nothing. Down lets it fall faster, fire does nothing.
    Step: first the action, then the piece falls by 1 / 1 / 2 cells, with down by 2 / 2 / 3 instead, up to the first
        obstacle. A piece that can fall no cell at all locks; full lines clear, and the next piece appears.
    End: terminated when ten lines are cleared, or when a piece appears on a block; truncated after 3000 steps.
    Reward: 0.1 for each of the first ten lines, -1 for a piece that appears on a block. The return lies in [-1, 1], the
        best one is 1.
    MDP frame: the board, the falling piece, the previews, the pieces left in the bag, and the lines to go.
    POMDP frame: the same without the locked blocks.
    Memory: all locked blocks, to the end: where each piece came to rest, and what sank when lines were cleared. The score
        and the lines to go tell that a line was cleared, not which.
    Memory length: all of the episode: a block stays until its line is cleared.
    Winning: keep the stack low, even and without holes. The expert looks at every place where the falling piece can still
        come to rest straight down, and takes the one that leaves the least height, holes and steps; it ignores the previews.
    """

    difficulties = LEVELS
    steps_per_second = 5

    @property
    def previews(self) -> int:
        """How many of the next pieces are shown."""
        return {"Easy": 3, "Medium": 2, "Hard": 1}[self.difficulty]

    @property
    def fall(self) -> int:
        """The cells that a piece falls in a step."""
        return {"Easy": 1, "Medium": 1, "Hard": 2}[self.difficulty]

    @property
    def default_params(self) -> TetrisParams:
        """See the class."""
        return TetrisParams(
            max_steps_in_episode=np.int32(3000), line_reward=np.float32(1 / LINES), loss_reward=np.float32(-1)
        )

    def initial_state(self, key: jax.Array, params: TetrisParams) -> TetrisState:
        """Deal the first pieces over an empty board."""
        deck = sampling.shuffled_deck(sampling.words(key, (PIECES,)), PIECES).astype(jnp.int32)
        dealt = deck[: 1 + self.previews]
        return TetrisState(
            **start_fields(),
            board=jnp.zeros((ROWS, COLS), bool),
            piece=dealt[0],
            orientation=jnp.zeros((), jnp.int32),
            corner=jnp.asarray(_START, jnp.int32),
            previews=dealt[1:],
            bag=jnp.all(dealt[:, None] != np.arange(PIECES)[None, :], 0),
            lines=jnp.zeros((), jnp.int32),
        )

    def transition(
        self, key: jax.Array, state: TetrisState, action: jax.Array, params: TetrisParams
    ) -> Transition[TetrisState]:
        """Turn or move the piece, let it fall."""
        row, col = state.corner
        lines = _walled(state.board)
        below = lax.dynamic_slice(lines, (row,), (_BOX + self.fall + 1,))

        def fits(piece: jax.Array, distance: int) -> jax.Array:
            return jnp.all(piece & below[distance : distance + _BOX] == 0)

        turned = (state.orientation + (action == Action.UP)) % jnp.asarray(ORIENTATIONS)[state.piece]
        moved = col + (action == Action.RIGHT) - (action == Action.LEFT)
        free = fits(_lines_of(state.piece, turned, moved), 0)
        orientation, col = jnp.where(free, turned, state.orientation), jnp.where(free, moved, col)
        piece = _lines_of(state.piece, orientation, col)

        wanted = self.fall + (action == Action.DOWN)
        falls, fallen = jnp.ones((), bool), jnp.zeros((), jnp.int32)
        for distance in range(1, self.fall + 2):
            falls &= fits(piece, distance) & (distance <= wanted)
            fallen += falls
        locks = fallen == 0

        board, full = _clear(_laid(jnp.where(locks, piece, 0), row, lines[:ROWS]))
        cleared = jnp.minimum(state.lines + full, LINES)
        won = cleared == LINES
        appears = _lines_of(state.previews[0], 0, _START[1])
        topped_out = locks & ~won & jnp.any(board[:_BOX] & appears != 0)

        drawn = sampling.choose(sampling.words(key), sampling.pack(state.bag[None]), PIECES)[1]
        left = state.bag & (np.arange(PIECES) != drawn)
        following = {
            "piece": state.previews[0],
            "orientation": jnp.zeros((), jnp.int32),
            "corner": jnp.asarray(_START, jnp.int32),
            "previews": jnp.append(state.previews[1:], drawn),
            "bag": left | ~jnp.any(left),
        }
        falling = {
            "piece": state.piece,
            "orientation": orientation,
            "corner": jnp.stack([row + fallen, col]),
            "previews": state.previews,
            "bag": state.bag,
        }
        dealt = jax.tree.map(functools.partial(jnp.where, locks), following, falling)
        loss = jnp.where(topped_out, params.loss_reward, 0.0)
        gain = (cleared - state.lines) * params.line_reward
        score = percent(cleared * params.line_reward + loss)
        state = state.replace(board=_open(board), lines=cleared, score=score, **dealt)
        return state, (gain + loss).astype(jnp.float32), won | topped_out

    def glimpse(self, state: TetrisState) -> TetrisGlimpse:
        """Read the board, and beside it what comes."""
        shown = {field.name: getattr(state, field.name) for field in dataclasses.fields(TetrisGlimpse)}
        return TetrisGlimpse(**shown | {"board": jnp.zeros_like(state.board) if self.partial_obs else state.board})

    def draw(self, state: TetrisState) -> jax.Array:
        """Show the board, and beside it what comes."""
        stage = self.layout
        seen = self.glimpse(state)
        cells = seen.corner[None] + jnp.asarray(_CELLS)[seen.piece, seen.orientation]
        if self.partial_obs:
            glyphs, blocks = [_PIECE + seen.piece] * 4, []
        else:
            overlaps = seen.board[cells[:, 0], cells[:, 1]]
            glyphs = list(jnp.where(overlaps, _OVERLAP, _PIECE) + seen.piece)
            blocks = [stage.board.fill(seen.board.astype(jnp.int32))]
        piece = [stage.board.stamp(cell, glyph) for cell, glyph in zip(cells, glyphs, strict=True)]
        return stage.screen.render(
            stage.screen.score(seen.score),
            stage.lines.show(LINES - seen.lines),
            stage.previews.fill(seen.previews[:, None]),
            stage.bag.fill(jnp.where(seen.bag, PIECES, 0)[:, None] + np.arange(PIECES)[:, None]),
            *blocks,
            *piece,
        )

    def expert_action(self, key: jax.Array, state: TetrisState, params: TetrisParams) -> jax.Array:
        """Lead the piece to the place with the best outlook.

        Places are those where it comes to rest when it falls straight down. Which of them can be reached in time is worked
        out for every orientation, column and row of its box, from the bottom up. Of 4096 games each, with the keys of one
        seed, it lost 0 / 1 / 13.
        """
        lines = _walled(state.board)
        cols = np.arange(-_WALL, COLS, dtype=np.int32)[None, :, None]
        placed = _lines_of(state.piece, np.arange(4)[:, None], cols)  # orientations x cols x rows of the box
        around = jnp.stack([lines[row : row + ROWS] for row in range(_BOX)], 1)
        free = jnp.all(placed[:, :, None] & around[None, None] == 0, -1)  # orientations x cols x rows of the board

        # Where it comes to rest, and what that is worth.
        rows = np.arange(ROWS, dtype=np.int32)[None, None, :]
        way = jnp.cumprod(free | (rows < state.corner[0]), -1, dtype=jnp.int32)
        rest = jnp.sum(way, -1) - 1
        worth = _outlook(_laid(placed, rest, lines[:ROWS]))
        worth = jnp.where(rows == rest[..., None], worth[..., None], _WORTHLESS)

        falls = [jnp.pad(free[..., distance:], ((0, 0), (0, 0), (0, distance))) for distance in range(1, 4)]
        falls = [falls[0], falls[0] & falls[1], falls[0] & falls[1] & falls[2]]

        def climb(below: tuple[jax.Array, ...], here: tuple[jax.Array, ...]) -> tuple[tuple[jax.Array, ...], jax.Array]:
            """From the best outlooks in the three rows below, those of all actions here: 5 x orientations x cols."""
            free, worth, *falls = here

            def after(distance: int) -> jax.Array:
                outlook = worth
                for can, there in zip(falls[:distance], below, strict=False):
                    outlook = jnp.where(can, there, outlook)
                return outlook

            slow, fast = after(self.fall), after(self.fall + 1)

            def via(axis: int, step: int) -> jax.Array:
                return jnp.where(jnp.roll(free, step, axis), jnp.roll(slow, step, axis), slow)

            # The outermost columns are never free, so nothing is rolled in from the other side.
            outlooks = jnp.stack([via(0, -1), fast, via(1, 1), via(1, -1), slow])
            return (jnp.max(outlooks, 0), *below[:2]), outlooks

        nothing = jnp.full(free.shape[:2], _WORTHLESS, jnp.int32)
        by_row = jax.tree.map(lambda leaf: jnp.moveaxis(leaf, -1, 0), (free, worth, *falls))
        _, outlooks = lax.scan(climb, (nothing, nothing, nothing), by_row, reverse=True)
        now = outlooks[state.corner[0], :, state.orientation, state.corner[1] + _WALL]
        in_haste = np.arange(self.num_actions) == Action.DOWN  # among equals
        return jnp.argmax(2 * now + in_haste).astype(jnp.int32)

    @functools.cached_property
    def layout(self) -> "Stage":
        """The screen of this view, laid out once."""
        return Stage(self.obs_size, type(self).__name__, self.previews)


def _walled(board: jax.Array) -> jax.Array:
    """Write the rows of a board as numbers, column `col` as bit `col + 3`, between walls and over a floor: int32[25].

    So few operations tell whether a piece fits. A full row is -1.
    """
    inside = jnp.sum(board << np.arange(_WALL, _WALL + COLS, dtype=np.int32)[None, :], 1)
    return jnp.append(inside | ~_INSIDE, jnp.full(5, -1, jnp.int32))


def _open(lines: jax.Array) -> jax.Array:
    """The board, bool[20, 10], whose rows are given as numbers, int32[20]."""
    return (lines[:, None] >> np.arange(_WALL, _WALL + COLS, dtype=np.int32)[None, :]) & 1 == 1


def _lines_of(piece: jax.Array, orientation: ArrayLike, col: ArrayLike) -> jax.Array:
    """Write the rows of a piece, whose box begins in column `col`, as numbers: int32[4]."""
    return jnp.asarray(_MASKS)[piece, orientation] << (col + _WALL)


def _laid(piece: jax.Array, row: jax.Array, lines: jax.Array) -> jax.Array:
    """Lay the rows of pieces, int32[..., 4], on those of a board, int32[20], from row `row`, int32[...], on."""
    rows = lax.broadcasted_iota(jnp.int32, (*row.shape, ROWS), row.ndim) - row[..., None]
    parts = [jnp.where(rows == i, piece[..., i, None], 0) for i in range(_BOX)]
    return functools.reduce(jnp.bitwise_or, parts, jnp.broadcast_to(lines, rows.shape))


def _clear(lines: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Let rows, int32[20], sink by as many as are full below them; return them and how many were full, int32[]."""
    rows = np.arange(ROWS, dtype=np.int32)
    full = lines == -1
    sunk = rows + jnp.sum(full[None, :] & (rows > rows[:, None]), 1, dtype=jnp.int32)
    kept = jnp.where(full, 0, lines & _INSIDE)
    kept = jnp.sum(jnp.where(sunk[None, :] == rows[:, None], kept[None, :], 0), 1, dtype=jnp.int32)
    return kept | ~_INSIDE, jnp.sum(full, dtype=jnp.int32)


def _outlook(lines: jax.Array) -> jax.Array:
    """Judge boards, their rows given as numbers, int32[..., 20]: the higher, the better, int32[...].

    What counts, once full rows are cleared, is how many cells are blocks or lie under one, the same cells times their
    height, how many of them are holes, and how many steps up or down lead over the blocks from wall to wall.
    """
    inside = lines & _INSIDE
    full = inside == _INSIDE
    blocks = jnp.where(full, 0, inside)
    covered = lax.associative_scan(jnp.bitwise_or, blocks, axis=blocks.ndim - 1)
    covered = jnp.where(full, 0, covered)
    cells, holes = lax.population_count(covered), lax.population_count(covered & ~blocks)
    steps = lax.population_count((covered ^ covered >> 1) & (_INSIDE & _INSIDE >> 1))
    heights = jnp.broadcast_to(np.arange(ROWS, 0, -1, dtype=np.int32), cells.shape)
    features = cells, cells * heights, holes, steps
    return functools.reduce(
        jnp.add, [weight * jnp.sum(counts, -1) for weight, counts in zip(_WEIGHTS, features, strict=True)]
    )


class Stage:
    """The screen: the board, to its left the bag, to its right the previews and the lines to go.

    Attributes:
        screen: the screen.
        board: the grid of the board.
        bag: a column of a cell for each piece; glyph n is piece n gone, glyph 7 + n piece n in the bag.
        previews: a column of cells; glyph n is piece n.
        lines: the readout of the lines to go.
    """

    def __init__(self, obs_size: int, title: str, previews: int) -> None:
        self.screen = screen = Screen(obs_size, title)
        top, left, size, _ = screen.fit(ROWS, COLS)
        line = max(1, size // 4)
        screen.background[top - line : top + ROWS * size + line, left - line : left + COLS * size + line] = palette.EDGE
        self.board = screen.grid(top, left, ROWS, COLS, _glyphs(size), fillable=_BLOCK + 1)

        gap = max(1, obs_size // 64)
        room = left - line - screen.left - 2 * gap
        right = left + COLS * size + line + gap
        height = ROWS * size
        label_height = screen.font_height + 2 * gap if obs_size >= 96 else 0

        def label(text: str, top: int, left: int) -> int:
            """Write a label into a column; return where the column goes on."""
            if label_height:
                mask = font.text(text, screen.font_height)
                shapes.stencil(screen.background, palette.GREY, mask, top, left + (room - mask.shape[1]) // 2)
            return top + label_height

        def column(top: int, left: int, cells: int, unit: int, colours: Sequence[Sequence[palette.Colour]]) -> Grid:
            glyphs = [_icon(piece, unit, gap, colour) for line in colours for piece, colour in enumerate(line)]
            return screen.grid(top, left + (room - 4 * unit) // 2, cells, 1, glyphs)

        colours = [colour for _, _, _, colour in _PIECES]
        faint = [palette.mix(palette.FIELD, palette.EDGE, 0.5)] * PIECES
        unit = min(((height - label_height) // PIECES - gap) // 2, room // 4)
        self.bag = column(label("BAG", top, screen.left + gap), screen.left + gap, PIECES, unit, [faint, colours])

        number_height = 2 * screen.font_height
        unit = min(((height - 2 * label_height - number_height) // 3 - 2 * gap) // 2, room // 4)
        self.previews = column(label("NEXT", top, right), right, previews, unit, [colours])
        number_top = label("GOAL", top + height - number_height - label_height, right)
        texts = [f"{lines:02d}" for lines in range(LINES + 1)]
        number_left = right + (room - font.text("00", number_height).shape[1]) // 2
        self.lines = screen.readout(number_top, number_left, texts, palette.WHITE, number_height)


def _glyphs(size: int) -> Sequence[np.ndarray]:
    """Draw the cells of the board in the order of the constants above."""
    empty = shapes.tile(size, size, palette.mix(palette.FIELD, palette.NIGHT, 0.6))
    colours = [colour for _, _, _, colour in _PIECES]
    overlaps = []
    for colour in colours:
        image = shapes.tile(size, size, palette.SLATE)
        image[np.tri(size, dtype=bool)] = colour
        overlaps.append(image)
    return [empty, _block(size, palette.SLATE), *[_block(size, colour) for colour in colours], *overlaps]


def _block(size: int, colour: palette.Colour) -> np.ndarray:
    """Draw a block: lit from above, if there is room."""
    image = shapes.tile(size, size, colour)
    if size >= 4:
        line = max(1, size // 8)
        image[:line] = image[:, :line] = palette.mix(colour, palette.WHITE, 0.4)
        image[-line:] = image[:, -line:] = palette.mix(colour, palette.NIGHT, 0.45)
    return image


def _icon(piece: int, unit: int, gap: int, colour: palette.Colour) -> np.ndarray:
    """Draw a piece of blocks of `unit` pixels in the middle of a cell of a column, with room below it."""
    image = shapes.tile(2 * unit + gap, 4 * unit, palette.FIELD)
    rows, cols = np.nonzero(SHAPES[piece, 0])
    height, width = np.ptp(rows) + 1, np.ptp(cols) + 1
    for row, col in zip(rows - rows.min(), cols - cols.min(), strict=True):
        top, left = (2 - height) * unit // 2 + row * unit, (4 - width) * unit // 2 + col * unit
        image[top : top + unit, left : left + unit] = _block(unit, colour)
    return image
