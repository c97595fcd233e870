"""Shared by the card games: the table, the suits, and reading a deck."""

from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade.game import Grid, Layer, Readout, Screen, font, palette, shapes

CARDS = {"Easy": 26, "Medium": 52, "Hard": 78}
NONE = -1
"""The suit of no card."""
_LINE = 13  # cards in a line of the history

# Shapes and colours, told apart by either, in the order of the suits' numbers.
_SUITS = (
    (shapes.spade(), palette.BLUE),
    (shapes.heart(), palette.RED),
    (shapes.diamond(), palette.AMBER),
    (shapes.club(), palette.GREEN),
)


def card_at(deck: jax.Array, position: jax.Array) -> jax.Array:
    """Read the suit at `position`, int[], of a deck, int8[cards], as int32[]; NONE where there is none."""
    here = np.arange(len(deck), dtype=np.int32) == position
    return jnp.sum(jnp.where(here, deck + 1, 0), dtype=jnp.int32) + NONE


class Table:
    """The screen of a card game: a card at the top left, one at the top right, the history below.

    Attributes:
        screen: the screen.
        middle: the box between the two cards, (top, left, height, width) in pixels.
        left_card, right_card: grids of one cell; glyph 0 is no card, glyph n is suit n - 1.
        history: a grid in lines of 13; glyph 0 is no card, glyph n is suit n - 1, glyph suits + n the same, crossed out.
    """

    def __init__(self, obs_size: int, title: str, cards: int, suits: int, left_label: str, right_label: str) -> None:
        self.screen = screen = Screen(obs_size, title)
        lines = -(-cards // _LINE)
        gap = max(1, obs_size // 42)
        size = min((screen.width - 2 * gap) // _LINE, round(0.1 * (screen.height - 4 * gap)))
        top = screen.top + screen.height - gap - lines * size
        left = (obs_size - _LINE * size) // 2
        history = [_small_card(size, suit, False) for suit in range(-1, suits)]
        history += [_small_card(size, suit, True) for suit in range(suits)]
        self.history = screen.grid(top, left, lines, _LINE, history)

        with_labels = obs_size >= 96
        label_height = screen.font_height + gap if with_labels else 0
        card_top = screen.top + gap + screen.edge + label_height
        space = top - gap - card_top
        height = min(space, round(0.4 * screen.width))
        width = round(0.75 * height)
        card_top += (space - height) // 2
        glyphs = [_card(height, width, suit) for suit in range(-1, suits)]
        right = obs_size - left - width
        self.left_card = screen.grid(card_top, left, 1, 1, glyphs)
        self.right_card = screen.grid(card_top, right, 1, 1, glyphs)
        self.middle = card_top, left + width, height, right - left - width
        if with_labels:
            label = font.text(left_label, screen.font_height)
            label_top = card_top - label_height
            shapes.stencil(screen.background, palette.GREY, label, label_top, left)
            label = font.text(right_label, screen.font_height)
            shapes.stencil(screen.background, palette.GREY, label, label_top, obs_size - left - label.shape[1])

    def middle_readout(self, texts: Sequence[str], colour: palette.Colour) -> Readout:
        """Reserve the place between the two cards for one of `texts`, in large letters."""
        top, left, height, width = self.middle
        length = max(map(len, texts))
        size = next(size for size in range(height, 0, -1) if font.text("0" * length, size).shape[1] <= 0.8 * width)
        drawn = font.text("0" * length, size).shape
        return self.screen.readout(top + (height - drawn[0]) // 2, left + (width - drawn[1]) // 2, texts, colour, size)

    def lines(self, ids: jax.Array) -> jax.Array:
        """Break glyph numbers, int[cards], into the lines of the history."""
        return ids.reshape(self.history.rows, _LINE)


def show_card(slot: Grid, suit: jax.Array) -> Layer:
    """Show a card, or NONE, in a grid of one cell."""
    return slot.fill((suit - NONE)[None, None])


def _card(height: int, width: int, suit: int) -> np.ndarray:
    image = shapes.tile(height, width, palette.FIELD)
    if suit < 0:
        return shapes.frame(image, palette.EDGE, max(1, width // 24))
    shape, colour = _SUITS[suit]
    shapes.paint(image, palette.WHITE, shapes.rounded(0, 0, 1, 1, 0.1))
    size = round(0.74 * width)
    top, left = (height - size) // 2, (width - size) // 2
    shapes.paint(image[top : top + size, left : left + size], colour, shape)
    return image


def _small_card(size: int, suit: int, crossed: bool) -> np.ndarray:
    image = shapes.tile(size, size, palette.FIELD)
    gap = max(1, size // 8)
    face = image[: size - gap, : size - gap]
    if suit < 0:
        face[:] = palette.NIGHT
        return image
    shape, colour = _SUITS[suit]
    if size < 8:  # too small for a shape: a block, or the corner of one
        face[:] = colour
        if crossed:
            face[: len(face) // 2] = palette.NIGHT
        return image
    paper = palette.mix(palette.WHITE, palette.FIELD, 0.85) if crossed else palette.WHITE
    face[:] = paper
    middle = face[gap : len(face) - gap + 1, gap : len(face) - gap + 1] if size < 16 else face[gap:-gap, gap:-gap]
    shapes.paint(middle, colour, shape)
    if crossed:
        shapes.paint(face, palette.NIGHT, shapes.bar(0, 0, 1, 1, 0.2))
    return image
