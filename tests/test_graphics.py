from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

import popgym_arcade
from popgym_arcade.environments import battleship, minesweeper, navigator
from popgym_arcade.environments.minesweeper import MineSweeper
from popgym_arcade.graphics import Screen, font, palette, screen, shapes
from popgym_arcade.testing import read_grid, read_text
from tests.environments import contract


def _some_states(env: Any, n: int = 24) -> Any:
    steps = [step.after for step in contract.rollout(env, episodes=2, steps=60, fire=0.4)]
    chosen = [steps[index] for index in np.linspace(0, len(steps) - 1, n).astype(int)]
    return jax.tree.map(lambda *leaves: np.stack(leaves), *chosen)


@pytest.mark.parametrize("env_id", [name for name in popgym_arcade.registered_envs if name.endswith("Easy")])
def test_both_ways_of_drawing_agree(env_id: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Accelerators look pixels up, CPUs copy boxes: the same frames, bit for bit."""
    env, _ = popgym_arcade.make(env_id, obs_size=72)
    states = _some_states(env)
    for view in (env, env.twin):
        boxes = jax.jit(jax.vmap(view.draw))(states)
        with monkeypatch.context() as patch:
            patch.setattr(screen.lax, "platform_dependent", lambda *, cpu, default: default())
            pixels = jax.jit(jax.vmap(lambda state, view=view: view.draw(state)))(states)
        assert np.array_equal(boxes, pixels)


@pytest.mark.parametrize("obs_size", [64, 65, 95, 96, 191, 300, 512])
def test_every_size_can_be_read(obs_size: int) -> None:
    """Score, repeats and every glyph of the board stay within the frame and apart from one another."""
    env = MineSweeper(difficulty="Hard", obs_size=obs_size)
    console, grid, repeats = env._screen
    _, state = env.reset(jax.random.key(0))
    frame = np.asarray(env.get_obs(state.replace(score=jnp.int32(-87), repeats=jnp.int32(21))))
    assert frame.shape == (obs_size, obs_size, 3)
    assert read_text(console.score_readout, frame) == 999 - 87
    assert read_text(repeats, frame) == 21
    read_grid(grid, frame)
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


@pytest.mark.parametrize(("game", "smallest"), [(navigator, 4), (battleship, 4), (minesweeper, 6)])
def test_glyphs_are_told_apart(game: Any, smallest: int) -> None:
    """At all sizes of a cell: any two glyphs of a board differ clearly in a good part of their pixels."""
    for size in range(smallest, 61):
        glyphs = np.stack(game._glyphs(size)).astype(int)
        contrast = np.abs(glyphs[:, None] - glyphs).max(-1)
        clear = np.count_nonzero(contrast > 60, axis=(2, 3)) + size**2 * np.eye(len(glyphs))
        assert clear.min() >= max(2, 0.02 * size**2), (size, np.unravel_index(clear.argmin(), clear.shape))


def test_scores_beyond_three_digits_stay_on_the_screen() -> None:
    console = Screen(64, "TEST")
    for score, shown in ((5000, 999), (-5000, -999), (7, 7)):
        frame = np.asarray(console.render(console.score(jnp.int32(score))))
        assert read_text(console.score_readout, frame) == shown + 999


def test_fill_and_stamp() -> None:
    console = Screen(64, "TEST")
    glyphs = [shapes.tile(5, 4, colour) for colour in (palette.NIGHT, palette.SKY, palette.ORANGE, palette.GREEN)]
    grid = console.grid(12, 8, 6, 9, glyphs, fillable=3)
    ids = jnp.asarray(np.random.default_rng(0).integers(0, 3, (6, 9)))
    frame = np.asarray(console.render(grid.fill(ids), grid.stamp(jnp.array([2, 7]), jnp.int32(3))))
    expected = np.asarray(ids).copy()
    expected[2, 7] = 3
    assert np.array_equal(read_grid(grid, frame), expected)
    untouched = np.asarray(console.render())
    assert np.all(read_grid(grid, untouched) == 0)
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
