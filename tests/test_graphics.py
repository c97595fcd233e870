from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import popgym_arcade
from popgym_arcade.environments import breakout, card_table, minesweeper, tetris
from popgym_arcade.environments.minesweeper import MineSweeper
from popgym_arcade.graphics import Screen, font, palette, screen, shapes
from tests import vision
from tests.environments import recorded


@pytest.mark.parametrize(
    ("env_id", "obs_size"),
    [*((name, 72) for name in popgym_arcade.registered_envs if name.endswith("Easy")), ("CartPoleEasy", 75)],
)
def test_all_ways_of_drawing_agree(env_id: str, obs_size: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """CPUs copy boxes, TPUs multiply, others look pixels up, as words where a row is a whole number of them."""
    env, _ = popgym_arcade.make(env_id, obs_size=obs_size)
    states = jax.tree.map(lambda leaf: leaf[::3], recorded.states(env))
    for view in (env, env.twin):
        frames = []
        for way in ("cpu", "tpu", "default"):
            with monkeypatch.context() as patch:
                patch.setattr(screen.lax, "platform_dependent", lambda *, way=way, **ways: ways[way]())
                frames.append(np.asarray(jax.jit(jax.vmap(lambda state, view=view: view.draw(state)))(states)))
        assert np.array_equal(frames[0], frames[1]) and np.array_equal(frames[0], frames[2])


def test_bands_are_stacked_in_batches_of_batches() -> None:
    """Also where a band is the same for all frames of a batch."""
    top, bottom = np.arange(24, dtype=np.uint32).reshape(2, 3, 2, 2), np.arange(90, 96, dtype=np.uint32).reshape(3, 2)
    stacked = jax.vmap(jax.vmap(screen._stack, (0, None)), (0, None))(top, bottom)
    assert np.array_equal(stacked, np.concatenate([top, np.broadcast_to(bottom, (2, 3, 3, 2))], 2))


@pytest.mark.parametrize("obs_size", [64, 65, 95, 96, 191, 300, 512])
def test_every_size_can_be_read(obs_size: int) -> None:
    """Score, repeats and every glyph of the board stay within the frame and apart from one another."""
    env = MineSweeper(difficulty="Hard", obs_size=obs_size)
    console, grid, repeats = env.layout
    _, state = env.reset(jax.random.key(0))
    frame = np.asarray(env.get_obs(state.replace(score=jnp.int32(-87), repeats=jnp.int32(21))))
    assert frame.shape == (obs_size, obs_size, 3)
    assert console.score_readout.read(frame) == -87
    assert repeats.read(frame) == 21
    grid.read(frame)
    assert len({glyph.tobytes() for glyph in grid.glyphs}) == len(grid.glyphs)
    assert grid.top >= console.top
    assert grid.top + grid.rows * grid.cell[0] <= console.top + console.height
    assert grid.left >= 0
    assert grid.left + grid.cols * grid.cell[1] <= obs_size


@pytest.mark.parametrize("env_id", popgym_arcade.registered_envs)
def test_all_sizes_draw(env_id: str) -> None:
    for obs_size in (64, 97, 512):
        env, _ = popgym_arcade.make(env_id, obs_size=obs_size)
        assert jax.eval_shape(env.reset, jax.random.key(0))[0].shape == (obs_size, obs_size, 3)


# The glyphs that may stand in one place, of a view of each game.
GLYPHS = {
    "MineSweeper": lambda env: [env.layout[1].glyphs],
    "BattleShip": lambda env: [env.layout[1].glyphs],
    "Navigator": lambda env: [env.layout[1].glyphs],
    "Skittles": lambda env: [env.layout[1].glyphs],
    "Breakout": lambda env: [
        np.delete(env.layout[1].glyphs, np.s_[breakout._MOVING_BALL :] if env.partial_obs else breakout._BALL, 0)
    ],
    "Tetris": lambda env: [
        env.layout.board.glyphs,
        env.layout.previews.glyphs,
        *(env.layout.bag.glyphs[[piece, tetris.PIECES + piece]] for piece in range(tetris.PIECES)),
    ],
    "AutoEncode": lambda env: [env.layout.left_card.glyphs, env.layout.history.glyphs],
    "CountRecall": lambda env: [env.layout[0].left_card.glyphs, env.layout[0].history.glyphs],
}


@pytest.mark.parametrize("game", GLYPHS)
@pytest.mark.parametrize("obs_size", [64, 80, 96, 128, 256])
def test_glyphs_are_told_apart(game: str, obs_size: int) -> None:
    """With all cones, and without those for red or green.

    Any two glyphs look different (by 15 in CIEDE2000) in a fifth of their pixels; or, where thin marks differ, on average
    over all the pixels that are not the same.
    """
    grids = [
        glyphs
        for level in ("Easy", "Medium", "Hard")
        for partial_obs in (False, True)
        for glyphs in GLYPHS[game](popgym_arcade.make(game + level, partial_obs=partial_obs, obs_size=obs_size)[0])
    ]
    for glyphs in {glyphs.tobytes(): glyphs for glyphs in grids}.values():
        first, second = np.triu_indices(len(glyphs), 1)
        differ = np.any(glyphs[first] != glyphs[second], -1)
        for sight in vision.VISIONS:
            seen = vision.lab(glyphs, sight)
            distances = vision.ciede2000(seen[first], seen[second])
            far, mean = np.mean(distances >= 15, (1, 2)), np.mean(distances, (1, 2), where=differ)
            alike = (far < 0.2) & ((mean < 15) | (differ.mean((1, 2)) < 0.04))
            assert not alike.any(), (sight, glyphs.shape, list(zip(first[alike], second[alike], strict=True)))


@pytest.mark.parametrize("sight", vision.VISIONS)
def test_distinct_colours(sight: str) -> None:
    colours = vision.lab(np.array([*palette.DISTINCT, palette.SLATE, palette.FIELD]), sight)
    first, second = np.triu_indices(len(colours), 1)
    assert vision.ciede2000(colours[first], colours[second]).min() >= 15
    for dark in (palette.NIGHT, palette.FIELD):
        assert vision.ciede2000(colours[:-1], vision.lab(np.array(dark), sight)).min() >= 15


@pytest.mark.parametrize(
    ("first", "second", "distance"),
    [
        ((50, 2.6772, -79.7751), (50, 0, -82.7485), 2.0425),
        ((50, 2.49, -0.001), (50, -2.49, 0.0011), 7.2195),
        ((50, 0, 0), (50, -1, 2), 2.3669),
        ((50, 2.5, 0), (58, 24, 15), 19.4535),
        ((22.7233, 20.0904, -46.694), (23.0331, 14.973, -42.5619), 2.0373),
    ],
)
def test_ciede2000(first: Any, second: Any, distance: float) -> None:
    """Against numbers of Sharma, Wu and Dalal, "The CIEDE2000 Color-Difference Formula", 2005."""
    assert vision.ciede2000(np.array(first, float), np.array(second, float)) == pytest.approx(distance, abs=1e-4)


@pytest.mark.parametrize("size", [6, 7, 8, 9, 12, 13, 17, 26])
def test_nothing_touches_a_digit_under_the_cursor(size: int) -> None:
    under_cursor = minesweeper._glyphs(size)[minesweeper._CURSOR :]
    for number in range(1, 9):
        glyph = under_cursor[minesweeper._GLYPH + number]
        ink = np.zeros((size, size, 3), np.uint8)
        shapes.stencil(ink, palette.WHITE, font.glyph(str(number), max(5, round(0.62 * size))))
        digit = ink[..., 0] > 0
        padded = np.pad(digit, 1)
        around = np.any([padded[i : i + size, j : j + size] for i in range(3) for j in range(3)], 0) & ~digit
        assert len(np.unique(glyph[digit], axis=0)) == len(np.unique(glyph[around], axis=0)) == 1, number


def test_small_cards_have_the_colours_of_large_ones() -> None:
    for suit in range(4):
        block, card = card_table._small_card(4, suit, False), card_table._card(40, 30, suit)
        assert np.array_equal(block[0, 0], card[20, 15])


def test_scores_beyond_three_digits_stay_on_the_screen() -> None:
    console = Screen(64, "TEST")
    for score, shown in ((5000, 999), (-5000, -999), (7, 7)):
        frame = np.asarray(console.render(console.score(jnp.int32(score))))
        assert console.score_readout.read(frame) == shown


def test_fill_and_stamp() -> None:
    console = Screen(64, "TEST")
    glyphs = [shapes.tile(5, 4, colour) for colour in (palette.NIGHT, palette.SKY, palette.ORANGE, palette.GREEN)]
    grid = console.grid(12, 8, 6, 9, glyphs, fillable=3)
    ids = jnp.asarray(np.random.default_rng(0).integers(0, 3, (6, 9)))
    frame = np.asarray(console.render(grid.fill(ids), grid.stamp(jnp.array([2, 7]), jnp.int32(3))))
    expected = np.asarray(ids).copy()
    expected[2, 7] = 3
    assert np.array_equal(grid.read(frame), expected)
    untouched = np.asarray(console.render())
    assert np.all(grid.read(untouched) == 0)
    assert np.array_equal(untouched, console.background)


@pytest.mark.parametrize("height", [5, 7, 10, 14, 21, 28])
def test_font(height: int) -> None:
    characters = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789+-%/?"
    drawn = {character: font.glyph(character, height) for character in characters}
    assert len({mask.tobytes() for mask in drawn.values()}) >= len(characters) - 2  # 0 and O may look alike, S and 5
    for character, mask in drawn.items():
        assert mask.shape[0] <= height
        assert mask.any(), character
    assert font.text("AB", height).shape[1] == 2 * drawn["A"].shape[1] + font.spacing(height)
    with pytest.raises(KeyError):
        font.glyph("!", height)


@pytest.mark.parametrize(
    ("shape", "area"),
    [
        (shapes.disc(0.5, 0.5, 0.5), np.pi / 4),
        (shapes.ring(0.5, 0.5, 0.5, 0.25), np.pi * 3 / 16),
        (shapes.rectangle(0.25, 0, 0.75, 1), 0.5),
        (shapes.polygon((0.5, 0), (1, 0.5), (0.5, 1), (0, 0.5)), 0.5),
        (shapes.bar(0, 0.5, 1, 0.5, 0.2), 0.2),
        (shapes.rounded(0, 0, 1, 1, 0.5), np.pi / 4),
        (shapes.diamond(), 0.384),
    ],
)
def test_shapes_have_their_area(shape: shapes.Shape, area: float) -> None:
    image = shapes.paint(shapes.tile(32, 32, (0, 0, 0)), (200, 100, 50), shape)
    assert image.mean((0, 1)) == pytest.approx(np.array([200, 100, 50]) * area, rel=0.02)
