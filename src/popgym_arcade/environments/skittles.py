"""Skittles: do not get hit."""

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

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
    pytree,
    sampling,
    shapes,
    start_fields,
    survival,
)

SIDE = 10
NONE = -1  # in the rows of `SkittlesState.enemies`
_LANE, _PLAYER = range(2)
_ENEMY = 2  # added to the number of a glyph, gives the same one with an enemy


@pytree
class SkittlesState(State):
    """The state of Skittles."""

    player: jax.Array
    """The player's column, int32[]. Public."""
    enemies: jax.Array
    """The column of the enemy in each row, from the top, or -1, int32[10]. Public in the MDP; the POMDP hides those that
    are not in `seen`."""
    seen: jax.Array
    """The rows whose enemy the POMDP shows, bool[10]. Never shown in the MDP; public in the POMDP where there is an
    enemy."""


@pytree
class SkittlesGlimpse(Glimpse):
    """The contents of a frame of Skittles."""

    player: jax.Array
    """The player's column, int32[]."""
    enemies: jax.Array
    """The column of the enemy in each row, from the top, int32[10], or -1 where none is shown."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Skittles(Environment[SkittlesState, Params]):
    """Dodge what comes down the lane.

    Board: 10 x 10, with a lane that begins at column 1 / 2 / 2, counted from 0, and is 8 / 7 / 6 wide. The player starts
        in a random column of it, in the bottom row, which it never leaves; there is no enemy yet.
    Actions: left and right move the player by one, the lane's edge stops it; the others let it stay.
    Step: the player moves; all enemies fall one row, the one in the bottom row leaves; a new one appears in the top row,
        in a random column of the lane. Only where they are then counts: player and enemy may pass each other diagonally.
    End: terminated when an enemy is in the player's cell; truncated after 100 steps.
    Reward: 1 / 100 for each step survived. The return lies in [0, 1], the best one is 1: there is one enemy in a row, and
        whoever stands in its way can step aside.
    MDP frame: the lane, the player and all enemies.
    POMDP frame: the same, but each enemy is hidden with probability one half, drawn afresh for each at each step. The
        player is always shown.
    Memory: the columns of the enemies seen in earlier frames, for up to nine steps each: an enemy falls straight down, so
        that one look at it tells where it will be. One in 512 comes down without being seen before it hits.
    Memory length: a window of 9 frames, in which an enemy comes down.
    Winning: never stay below an enemy that is one row away. The expert steps aside then, towards the middle, else it stays,
        and it is never hit.
    """

    difficulties = LEVELS
    steps_per_second = 5

    @property
    def first(self) -> int:
        """The first column of the lane."""
        return {"Easy": 1, "Medium": 2, "Hard": 2}[self.difficulty]

    @property
    def width(self) -> int:
        """The columns of the lane."""
        return {"Easy": 8, "Medium": 7, "Hard": 6}[self.difficulty]

    @property
    def default_params(self) -> Params:
        """See the class."""
        return Params(max_steps_in_episode=np.int32(100))

    def initial_state(self, key: jax.Array, params: Params) -> SkittlesState:
        """Place the player on the empty lane."""
        player = self.first + sampling.below(sampling.words(key), self.width)
        no_one = jnp.full(SIDE, NONE, jnp.int32)
        return SkittlesState(**start_fields(), player=player, enemies=no_one, seen=jnp.zeros(SIDE, bool))

    def transition(
        self, key: jax.Array, state: SkittlesState, action: jax.Array, params: Params
    ) -> Transition[SkittlesState]:
        """Move, and let the enemies fall."""
        bits = sampling.words(key, (2,))
        step = (action == Action.RIGHT).astype(jnp.int32) - (action == Action.LEFT)
        player = jnp.clip(state.player + step, self.first, self.first + self.width - 1)
        newcomer = self.first + sampling.below(bits[0], self.width)
        enemies = jnp.concatenate([newcomer[None], state.enemies[:-1]])
        seen = (bits[1] >> np.arange(SIDE, dtype=np.uint32)) & 1 == 1
        hit = enemies[-1] == player
        score, reward = survival(state.time, hit, params)
        return state.replace(player=player, enemies=enemies, seen=seen, score=score), reward, hit

    def glimpse(self, state: SkittlesState) -> SkittlesGlimpse:
        """Read the lane."""
        enemies = jnp.where(state.seen, state.enemies, NONE) if self.partial_obs else state.enemies
        return SkittlesGlimpse(score=state.score, player=state.player, enemies=enemies)

    def draw(self, state: SkittlesState) -> jax.Array:
        """Show the lane."""
        screen, lane = self.layout
        seen = self.glimpse(state)
        cells = jnp.stack([np.arange(SIDE, dtype=np.int32), jnp.maximum(seen.enemies - self.first, 0)], 1)
        glyphs = jnp.where(seen.enemies != NONE, _ENEMY + _LANE, _LANE)
        enemies = [lane.stamp(cells[row], glyphs[row]) for row in range(SIDE)]
        hit = seen.enemies[-1] == seen.player
        position = jnp.stack([jnp.full((), SIDE - 1, jnp.int32), seen.player - self.first])
        player = lane.stamp(position, jnp.where(hit, _ENEMY + _PLAYER, _PLAYER))
        return screen.render(screen.score(seen.score), *enemies, player)

    def expert_action(self, key: jax.Array, state: SkittlesState, params: Params) -> jax.Array:
        """Step aside, towards the middle, if an enemy is right above."""
        aside = jnp.where(state.player - self.first < self.width // 2, Action.RIGHT, Action.LEFT)
        return jnp.where(state.enemies[-2] == state.player, aside, Action.FIRE).astype(jnp.int32)

    @functools.cached_property
    def layout(self) -> tuple[Screen, Grid]:
        """The screen of this view, laid out once."""
        screen = Screen(self.obs_size, type(self).__name__)
        top, left, size, _ = screen.fit(SIDE, SIDE)
        gutter = palette.mix(palette.FIELD, palette.EDGE, 0.5)
        screen.background[top : top + SIDE * size, left : left + SIDE * size] = gutter
        return screen, screen.grid(top, left + self.first * size, SIDE, self.width, _glyphs(size), fillable=1)


def _glyphs(size: int) -> Sequence[np.ndarray]:
    """Draw the cells in the order of the constants above, then the same with an enemy."""
    wood = palette.mix(palette.FIELD, palette.ORANGE, 0.3)
    lane = shapes.tile(size, size, wood)
    lane[:, -max(1, size // 16) :] = palette.mix(wood, palette.NIGHT, 0.45)  # between two planks

    player = _with_ball(lane)
    crash = shapes.tile(size, size, palette.VERMILLION)
    return [lane, player, _with_skittle(lane), _with_skittle(_with_ball(crash))]


def _with_ball(cell: np.ndarray) -> np.ndarray:
    """Draw the player, a ball with three holes for the fingers."""
    image = cell.copy()
    if len(image) < 6:  # too small for holes
        image[1:, :-1] = palette.SKY
        return image
    middle = board.inside(image, 0.95)
    shapes.paint(middle, palette.SKY, shapes.disc(0.5, 0.5, 0.5))
    holes = shapes.union(shapes.disc(0.42, 0.24, 0.07), shapes.disc(0.64, 0.24, 0.07), shapes.disc(0.56, 0.44, 0.07))
    shapes.paint(middle, palette.NIGHT, holes)
    return image


def _with_skittle(cell: np.ndarray) -> np.ndarray:
    """Draw an enemy, a skittle with a stripe around its neck."""
    image = cell.copy()
    if len(image) < 6:  # too small for a shape
        image[:-1, :-1] = palette.WHITE
        image[1, :-1] = palette.VERMILLION
        return image
    middle = board.inside(image, 0.9)
    body = shapes.union(
        shapes.disc(0.5, 0.17, 0.17),
        shapes.polygon((0.4, 0.2), (0.6, 0.2), (0.74, 0.66), (0.26, 0.66)),
        shapes.disc(0.5, 0.66, 0.25),
        shapes.polygon((0.26, 0.7), (0.74, 0.7), (0.64, 1), (0.36, 1)),
    )
    shapes.paint(middle, palette.WHITE, body)
    shapes.paint(middle, palette.VERMILLION, shapes.rectangle(0.36, 0.36, 0.64, 0.48))
    return image
