"""Breakout: bring down the wall."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
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
    palette,
    percent,
    pytree,
    sampling,
    shapes,
    start_fields,
)

ROWS, COLS = 20, 10
WALL_ROWS = 6
_WALL_TOP = 1  # the first row with bricks
_START = 13  # the row in which the ball starts
_AIR = 0
_BRICK = 1  # that of the top row; the other rows follow
_PADDLE_LEFT, _PADDLE, _PADDLE_RIGHT, _BALL = range(_BRICK + WALL_ROWS, _BRICK + WALL_ROWS + 4)
# To the upper left; then to the upper right, the lower left, the lower right; then the same of a ball that has struck.
_MOVING_BALL = _BALL + 1
HIDDEN = -1
"""Row and column of a ball that a frame does not show."""


@pytree
class BreakoutParams(Params):
    """The parameters of Breakout."""

    brick_rewards: ArrayLike
    """For a brick in each row, from the top, float32[6]."""
    loss_reward: ArrayLike
    """For losing the ball with the whole wall standing, float32[]; in proportion with a part of it."""


@pytree
class BreakoutState(State):
    """The state of Breakout."""

    paddle: jax.Array
    """The first column of the paddle, int32[]. Public."""
    ball: jax.Array
    """Where the ball is, int32[2] of (row, col). Public in the MDP; the POMDP hides it while it falls."""
    direction: jax.Array
    """Where it flies, int32[2]: -1 up or 1 down, -1 left or 1 right. Public in the MDP; the POMDP shows no more than that
    a ball in sight is rising."""
    struck: jax.Array
    """Whether it has struck a brick since the paddle last caught it, bool[]. Public in the MDP, hidden in the POMDP."""
    bricks: jax.Array
    """The bricks that stand, bool[6, 10]. Public."""


@pytree
class BreakoutGlimpse(Glimpse):
    """The contents of a frame of Breakout."""

    paddle: jax.Array
    """The first column of the paddle, int32[]."""
    ball: jax.Array
    """Where the ball is, int32[2] of (row, col), or HIDDEN."""
    direction: jax.Array
    """Where it flies, int32[2] as in the state; in the POMDP 0 for what is hidden."""
    struck: jax.Array
    """Whether it has struck a brick since the last catch, bool[]; in the POMDP False."""
    bricks: jax.Array
    """The bricks that stand, bool[6, 10]."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Breakout(Environment[BreakoutState, BreakoutParams]):
    """Keep the ball in play until no brick stands.

    Board: 20 x 10. Rows 1 to 6, counted from 0, are full of bricks. The paddle is in row 19, 6 / 5 / 4 cells wide, and
        starts in the middle (the one of width 5 in columns 2 to 6). The ball starts in row 13, in a random column, rising
        to the left or right at random.
    Actions: left and right move the paddle by one while the ball falls, the edge stops it; the others let it stay. While
        the ball rises, the paddle cannot be moved.
    Step: the paddle moves, if the ball was falling when the step began, then the ball. If its next column is outside, it
        turns sideways; if its next row is above the top, it turns down. Then it looks at the cell it flies into. A brick
        there is removed, or, in row 19, the paddle, if it covers that column, catches it: in both cases it turns vertically
        and moves sideways only, if that cell is free, else it stays. Otherwise it flies there. A ball that is caught and has
        struck a brick since the last catch flies on to the left or right at random; one that has not keeps its sideways
        direction.
    End: terminated when no brick stands, or when the ball gets to row 19; truncated after 4000 steps. Whoever always
        catches the ball clears the wall in some 1650 steps, and needs fewer than 3000.
    Reward: 15, 13, 11, 9, 7, 5 / 600 for a brick, by its row from the top: 1 for the whole wall. Losing the ball costs the
        fraction of bricks left. The return lies in [-1, 1], the best one is 1.
    MDP frame: paddle, bricks, and the ball, with a tail that tells where it comes from, and another colour once it has
        struck a brick.
    POMDP frame: paddle, bricks, and the ball, without tail or colour, while it rises; no ball while it falls.
    Memory: where the ball was in earlier frames. Two of them tell where a rising ball goes; once it has turned, its way down
        must be carried on unseen, for up to 18 steps, off the walls and off the bricks that vanish.
    Memory length: a window of some 20 frames: two in which the ball rises, and the up to 18 of its way down. It is longer
        where the ball bounces to and fro between bricks.
    Winning: be where the ball comes down, then the wall falls by itself. The expert keeps the middle of the paddle under the
        falling ball, which never moves sideways faster than the paddle, and never loses it.

    Source: K. Young and T. Tian, "MinAtar: An Atari-Inspired Testbed for Thorough and Reproducible Reinforcement Learning
    Experiments", 2019; the field is larger here, and nothing in the MDP is hidden.
    """

    difficulties = LEVELS
    version = 1
    steps_per_second = 10

    @property
    def paddle_width(self) -> int:
        """The cells of the paddle."""
        return {"Easy": 6, "Medium": 5, "Hard": 4}[self.difficulty]

    @property
    def default_params(self) -> BreakoutParams:
        """See the class."""
        return BreakoutParams(
            max_steps_in_episode=np.int32(4000),
            brick_rewards=np.arange(15, 4, -2, dtype=np.float32) / np.float32(600),
            loss_reward=np.float32(-1),
        )

    def initial_state(self, key: jax.Array, params: BreakoutParams) -> BreakoutState:
        """Build the wall and serve."""
        col, right = jnp.divmod(sampling.below(sampling.words(key), 2 * COLS), 2)
        return BreakoutState(
            **start_fields(),
            paddle=jnp.full((), (COLS - self.paddle_width) // 2, jnp.int32),
            ball=jnp.stack([jnp.full((), _START, jnp.int32), col]),
            direction=jnp.stack([jnp.full((), -1, jnp.int32), 2 * right - 1]),
            struck=jnp.zeros((), bool),
            bricks=jnp.ones((WALL_ROWS, COLS), bool),
        )

    def transition(
        self, key: jax.Array, state: BreakoutState, action: jax.Array, params: BreakoutParams
    ) -> Transition[BreakoutState]:
        """Move the paddle, let the ball fly."""
        row, col = state.ball
        down, right = state.direction
        step = (action == Action.RIGHT).astype(jnp.int32) - (action == Action.LEFT)
        paddle = jnp.clip(state.paddle + jnp.where(down > 0, step, 0), 0, COLS - self.paddle_width)

        right = jnp.where((col + right < 0) | (col + right >= COLS), -right, right)
        down = jnp.where(row + down < 0, 1, down)
        brick = state.bricks & _in_wall(row + down, col + right)
        at_bottom = row + down == ROWS - 1
        caught = at_bottom & (col + right >= paddle) & (col + right < paddle + self.paddle_width)
        lost = at_bottom & ~caught

        bounced = jnp.any(brick) | caught
        blocked = bounced & jnp.any(state.bricks & _in_wall(row, col + right))
        ball = jnp.stack([jnp.where(bounced, row, row + down), jnp.where(blocked, col, col + right)])
        served = caught & state.struck
        right = jnp.where(served, 2 * sampling.below(sampling.words(key), 2) - 1, right)
        direction = jnp.stack([jnp.where(bounced, -down, down), right])
        struck = (state.struck | jnp.any(brick)) & ~caught

        bricks = state.bricks & ~brick
        left = jnp.sum(bricks, 1)
        loss = jnp.where(lost, jnp.sum(left) * params.loss_reward / (WALL_ROWS * COLS), 0.0)
        score = percent(jnp.sum((COLS - left) * params.brick_rewards) + loss)
        reward = jnp.sum(jnp.where(jnp.any(brick, 1), params.brick_rewards, 0.0)) + loss
        state = state.replace(paddle=paddle, ball=ball, direction=direction, struck=struck, bricks=bricks, score=score)
        return state, reward.astype(jnp.float32), lost | ~jnp.any(bricks)

    def glimpse(self, state: BreakoutState) -> BreakoutGlimpse:
        """Read the court."""
        down, _ = state.direction
        ball, direction, struck = state.ball, state.direction, state.struck
        if self.partial_obs:
            ball = jnp.where(down < 0, ball, HIDDEN)
            direction = jnp.stack([jnp.where(down < 0, down, 0), jnp.zeros_like(down)])
            struck = jnp.zeros_like(struck)
        return BreakoutGlimpse(
            score=state.score, paddle=state.paddle, ball=ball, direction=direction, struck=struck, bricks=state.bricks
        )

    def draw(self, state: BreakoutState) -> jax.Array:
        """Show the court."""
        screen, grid = self.layout
        seen = self.glimpse(state)
        colours = np.arange(_BRICK, _BRICK + WALL_ROWS, dtype=np.int32)[:, None]
        wall = jnp.where(seen.bricks, colours, _AIR)
        parts = [_PADDLE_LEFT] + [_PADDLE] * (self.paddle_width - 2) + [_PADDLE_RIGHT]
        bottom = jnp.full((), ROWS - 1, jnp.int32)
        paddle = [
            grid.stamp(jnp.stack([bottom, seen.paddle + part]), jnp.full((), glyph, jnp.int32))
            for part, glyph in enumerate(parts)
        ]
        if self.partial_obs:
            # A ball that is hidden is drawn as air, in a corner where there never is a brick.
            ball = grid.stamp(jnp.maximum(seen.ball, 0), jnp.where(seen.ball[0] == HIDDEN, _AIR, _BALL))
        else:
            down, right = seen.direction
            ball = grid.stamp(seen.ball, _MOVING_BALL + (down + 1) + (right + 1) // 2 + 4 * seen.struck)
        return screen.render(screen.score(seen.score), grid.fill(wall, _WALL_TOP), *paddle, ball)

    def expert_action(self, key: jax.Array, state: BreakoutState, params: BreakoutParams) -> jax.Array:
        """Keep the middle of the paddle under the falling ball, which never moves sideways faster than the paddle."""
        ahead = state.ball[1] - (state.paddle + self.paddle_width // 2)
        return jnp.where(ahead < 0, Action.LEFT, jnp.where(ahead > 0, Action.RIGHT, Action.FIRE)).astype(jnp.int32)

    @functools.cached_property
    def layout(self) -> tuple[Screen, Grid]:
        """The screen of this view, laid out once."""
        screen = Screen(self.obs_size, type(self).__name__)
        top, left, height, width = screen.fit(ROWS, COLS, aspect=3)
        screen.field[:] = palette.EDGE
        return screen, screen.grid(top, left, ROWS, COLS, _glyphs(height, width), fillable=_BRICK + WALL_ROWS)


def _in_wall(row: jax.Array, col: jax.Array) -> jax.Array:
    """Mark a cell of the board on the wall: bool[6, 10], all False if the cell is outside."""
    rows = np.arange(_WALL_TOP, _WALL_TOP + WALL_ROWS, dtype=np.int32)
    return (rows[:, None] == row) & (np.arange(COLS, dtype=np.int32)[None, :] == col)


def _glyphs(height: int, width: int) -> Sequence[np.ndarray]:
    """Draw the cells in the order of the constants above."""
    air = shapes.tile(height, width, palette.FIELD)
    gap = max(1, height // 10)
    colours = palette.RED, palette.AMBER, palette.YELLOW, palette.GREEN, palette.SKY, palette.PINK
    bricks = []
    for colour in colours:
        brick = air.copy()
        face = brick[: height - gap if height > 2 else height, : width - gap]
        face[:] = colour
        if height >= 8:
            face[:gap] = palette.mix(colour, palette.WHITE, 0.5)
            face[-gap:] = palette.mix(colour, palette.NIGHT, 0.35)
        bricks.append(brick)

    paddle = shapes.tile(height, width, palette.WHITE)
    paddle[-(height // 2) :] = palette.GREY
    left_end = paddle.copy()
    left_end[:, : width // 3] = palette.VERMILLION

    ball = _with_ball(air, palette.WHITE)
    tail = shapes.polygon((0.5, 0.1), (1, 0.9), (1, 1), (0.9, 1), (0.35, 0.8))
    with_tail = shapes.paint(air.copy(), palette.mix(palette.FIELD, palette.YELLOW, 0.85), tail)
    flights = []
    for colour in (palette.WHITE, palette.VERMILLION):
        moving = _with_ball(with_tail, colour)
        flights += [moving, moving[:, ::-1], moving[::-1], moving[::-1, ::-1]]
    return [air, *bricks, left_end, paddle, left_end[:, ::-1], ball, *flights]


def _with_ball(cell: np.ndarray, colour: palette.Colour) -> np.ndarray:
    """Draw the ball in the middle of a copy of a cell."""
    image = cell.copy()
    height, width, _ = image.shape
    size = height - (width - height) % 2 if height > 2 else height  # symmetric
    middle = (width - size) // 2
    box = image[:size, middle : middle + size]
    shapes.paint(box, colour, shapes.disc(0.5, 0.5, 0.5))
    return image
