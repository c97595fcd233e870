"""The screen: a constant background, and what is copied onto it at every step.

A game lays out its screen once (`Screen`, `Screen.grid`, `Screen.readout`) and then says, state by state, which glyph
is in which cell (`Screen.render`). How the pixels get there is decided here. Measurements are in docs/architecture.md.
"""

import dataclasses
import functools
from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from popgym_arcade.graphics import font, palette, shapes

# Neighbouring cells are copied together, from an atlas of all their combinations, while that atlas stays in a core's cache.
_ATLAS_BYTES = 256 * 1024
_LOOPED_ROWS = 8  # so many rows of cells or more are copied in a loop, which compiles once and runs no slower


@dataclasses.dataclass(frozen=True, eq=False)
class Grid:
    """A block of equal cells on the screen, each of which shows a glyph. Glyph 0 is what an untouched cell shows."""

    top: int
    left: int
    rows: int
    cols: int
    glyphs: np.ndarray
    """uint8[number of glyphs, cell height, cell width, 3]"""
    fillable: int
    """The number of glyphs, from the first, that `fill` may show; `stamp` may show all."""

    def fill(self, ids: jax.Array, first_row: int = 0) -> "Fill":
        """Show glyph `ids[row, col]`, int[rows, cols] below `fillable`, in every cell.

        With fewer rows it fills those from `first_row` on.
        """
        return Fill(self, ids, first_row)

    def stamp(self, position: jax.Array, glyph: jax.Array) -> "Stamp":
        """Show `glyph`, int[], in the cell at `position`, int[2] of (row, col), over what was there."""
        return Stamp(self, position, glyph)

    def read(self, frame: np.ndarray) -> np.ndarray:
        """Return the glyph that each cell shows on a frame, uint8[obs_size, obs_size, 3]: int[rows, cols].

        Raises:
            ValueError: if a cell shows no glyph, or one that looks like another.
        """
        height, width = self.cell
        box = frame[self.top : self.top + self.rows * height, self.left : self.left + self.cols * width]
        cells = box.reshape(self.rows, height, self.cols, width, 3).swapaxes(1, 2)
        alike = np.all(cells[:, :, None] == self.glyphs, axis=(3, 4, 5))
        if not np.all(alike.sum(2) == 1):
            raise ValueError("a cell of the frame shows no glyph of its grid, or several that look the same")
        return alike.argmax(2)

    @property
    def cell(self) -> tuple[int, int]:
        """Height and width of a cell in pixels."""
        return self.glyphs.shape[1], self.glyphs.shape[2]


@dataclasses.dataclass(frozen=True, eq=False)
class Readout:
    """A place on the screen that shows one of a list of texts, which are numbered one after the other."""

    grid: Grid
    ids: np.ndarray
    """uint8[number of texts, length of a text]"""
    first: int
    """The number of the first text."""

    def show(self, number: jax.Array) -> "Fill":
        """Show text `number`, int[]; the first or last one if there is no such text."""
        return self.grid.fill(jnp.asarray(self.ids)[jnp.clip(number - self.first, 0, len(self.ids) - 1)][None])

    def read(self, frame: np.ndarray) -> int:
        """Return the number of the text that is shown on a frame, uint8[obs_size, obs_size, 3].

        Raises:
            ValueError: if it shows none of its texts, or one that stands for several numbers.
        """
        found = np.flatnonzero(np.all(self.ids == self.grid.read(frame)[0], axis=1))
        if len(found) != 1:
            raise ValueError("a readout shows none of its texts, or one that stands for several numbers")
        return self.first + int(found[0])


@dataclasses.dataclass(frozen=True, eq=False)
class Fill:
    """All cells of a grid, or whole rows of it."""

    grid: Grid
    ids: jax.Array
    first_row: int


@dataclasses.dataclass(frozen=True, eq=False)
class Stamp:
    """One cell of a grid, its place known only at run time."""

    grid: Grid
    position: jax.Array
    glyph: jax.Array


@dataclasses.dataclass(frozen=True, eq=False)
class Patch:
    """An image, uint8[height, width, 3], that the game computes, at a fixed place."""

    top: int
    left: int
    image: jax.Array
    colours: Callable[[np.ndarray, np.ndarray], jax.Array] | None = None
    """The same, pixel by pixel, for devices that look pixels up: the colours, see `pack`, uint32[rows, cols], in some rows
    and columns of the image, int[rows] and int[cols]. If left out, the image is made first and then looked at."""

    def pick(self, rows: np.ndarray, cols: np.ndarray) -> jax.Array:
        """Return the colours in some rows and columns of the screen, int[rows] and int[cols]: uint32[rows, cols]."""
        rows, cols = rows - self.top, cols - self.left
        if self.colours is not None:
            return self.colours(rows, cols)
        red, green, blue = (self.image[rows[:, None], cols, channel].astype(jnp.uint32) for channel in range(3))
        return red | green << 8 | blue << 16


Layer = Fill | Stamp | Patch


class Screen:
    """The frame of a game: score on top, title at the bottom, the play field between them.

    Attributes:
        background: what never changes, uint8[obs_size, obs_size, 3]. Games paint on it before they first render.
        top, left, height, width: the play field, in pixels.
        grids: its grids, in the order in which they were laid out.
    """

    def __init__(self, obs_size: int, title: str) -> None:
        self.obs_size = obs_size
        self.font_height = 5 if obs_size < 96 else 7 * max(1, round(obs_size / 128))
        self.edge = max(1, round(obs_size / 128))
        margin = max(1, round(obs_size / 64))
        bar = self.font_height + 2 * margin
        self.top, self.left = bar, self.edge
        self.height, self.width = obs_size - 2 * bar, obs_size - 2 * self.edge
        self._margin = margin
        self.grids: list[Grid] = []

        self.background = shapes.tile(obs_size, obs_size, palette.NIGHT)
        self.background[bar : obs_size - bar] = palette.EDGE
        self.field[:] = palette.FIELD
        mask = font.text(title, self.font_height)
        shapes.stencil(self.background, palette.SKY, mask, top=obs_size - bar + margin)
        scores = range(-999, 1000)
        texts = [f"{score:+d}%" for score in scores]
        self.score_readout = self.readout(margin, 2 * margin, texts, palette.WHITE, first=scores[0])

    @property
    def field(self) -> np.ndarray:
        """The play field's part of the background."""
        edge = self.edge
        return self.background[self.top + edge : self.top + self.height - edge, self.left : self.left + self.width]

    def grid(
        self, top: int, left: int, rows: int, cols: int, glyphs: Sequence[np.ndarray], fillable: int | None = None
    ) -> Grid:
        """Reserve `rows` x `cols` cells whose first corner is at (`top`, `left`), and show glyph 0 in them.

        Grids must not overlap. Glyphs are images, uint8[cell height, cell width, 3]. See `Grid` for `fillable`, by
        default all.
        """
        grid = Grid(top, left, rows, cols, np.stack(glyphs), len(glyphs) if fillable is None else fillable)
        height, width = grid.cell
        self.background[top : top + rows * height, left : left + cols * width] = np.tile(glyphs[0], (rows, cols, 1))
        self.grids.append(grid)
        return grid

    def board(self, side: int, glyphs_of: Callable[[int], Sequence[np.ndarray]], fillable: int | None = None) -> Grid:
        """Reserve `side` x `side` square cells, as large as fit, in the middle of the field.

        `glyphs_of` draws the glyphs for a cell of so many pixels. See `Grid` for `fillable`, by default all.
        """
        top, left, size, _ = self.fit(side, side)
        return self.grid(top, left, side, side, glyphs_of(size), fillable)

    def fit(self, rows: int, cols: int, aspect: int = 1) -> tuple[int, int, int, int]:
        """Fit `rows` x `cols` cells, as large as possible, into the middle of the field: (top, left, height, width).

        The first two are the corner of the first cell, the others its size. It is at most `aspect` times as wide as high,
        1 at least, and never higher than wide.
        """
        height, width = (self.height - 2 * self.edge) // rows, self.width // cols
        height, width = min(height, width), min(width, aspect * height)
        top, left = self.top + (self.height - rows * height) // 2, self.left + (self.width - cols * width) // 2
        return top, left, height, width

    def readout(
        self,
        top: int,
        left: int,
        texts: Sequence[str],
        colour: palette.Colour,
        height: int | None = None,
        first: int = 0,
    ) -> Readout:
        """Reserve a place for one line of text, by default in the font of the title.

        It shows one of `texts`, which have the numbers from `first` on.
        """
        height = self.font_height if height is None else height
        length = max(map(len, texts))
        characters = sorted(set("".join(texts)) | {" "})
        ids = np.array([[characters.index(c) for c in text.ljust(length)] for text in texts], np.uint8)
        grid = self.grid(top, left, 1, length, [self._letter(c, top, left, colour, height) for c in characters])
        return Readout(grid, ids, first)

    def status(self, texts: Sequence[str], colour: palette.Colour) -> Readout:
        """Reserve the place at the right of the score for one of `texts`."""
        width = max(map(len, texts)) * len(self._letter(" ", 0, 0, colour, self.font_height)[0])
        padded = [text.rjust(max(map(len, texts))) for text in texts]
        return self.readout(self._margin, self.obs_size - 2 * self._margin - width, padded, colour)

    def score(self, score: jax.Array) -> Fill:
        """Show the score, int32[], in percent."""
        return self.score_readout.show(score)

    def _letter(self, character: str, top: int, left: int, colour: palette.Colour, height: int) -> np.ndarray:
        mask = font.glyph(character, height)
        image = shapes.tile(mask.shape[0], mask.shape[1] + font.spacing(height), self.background[top, left])
        shapes.stencil(image, colour, mask, top=0, left=0)
        return image

    def render(self, *layers: Layer) -> jax.Array:
        """Put the layers over the background, in their order: uint8[obs_size, obs_size, 3]."""
        cells = [layer for layer in layers if not isinstance(layer, Patch)]
        patches = [layer for layer in layers if isinstance(layer, Patch)]
        return lax.platform_dependent(
            cpu=lambda: self._copy_boxes(cells, patches),
            tpu=lambda: _overlaid(self._multiply(cells), patches),
            default=lambda: self._look_up(cells, patches),
        )

    def _copy_boxes(self, layers: Sequence[Fill | Stamp], patches: Sequence[Patch]) -> jax.Array:
        """Copy box by box, in place: a CPU's cache likes short rows of bytes, and most of the frame is left alone."""
        # Loops over the bytes of a row are faster than those over pixels and colours, but patches are made of the latter.
        pixel = (3,) if patches else ()
        frame = jnp.asarray(_by_rows(self.background, pixel))
        for layer in layers:
            grid = layer.grid
            height, width = grid.cell
            if isinstance(layer, Stamp):
                row, col = layer.position
                glyph = _pick(jnp.asarray(_by_rows(grid.glyphs, pixel)), layer.glyph)
                frame = _overlay(frame, glyph, grid.top + row * height, grid.left + col * width)
                continue
            for cols in _groups(grid):
                atlas = jnp.asarray(_by_rows(_combine(grid.glyphs[: grid.fillable], len(cols)), pixel))
                place_values = np.array([grid.fillable**i for i in reversed(range(len(cols)))], np.int32)
                combinations = jnp.sum(layer.ids[:, cols[0] : cols[-1] + 1] * place_values[None, :], 1)
                top = grid.top + layer.first_row * height
                frame = _copy_rows(frame, atlas, combinations, top, grid.left + cols[0] * width)
        return _overlaid(frame, patches) if patches else _settled(frame).reshape(self.background.shape)

    def _multiply(self, layers: Sequence[Fill | Stamp]) -> jax.Array:
        """Make a row of cells by a product of matrices: TPUs are good at that, and slow to look up."""
        frame = jnp.asarray(self.background)
        for grid in self.grids:
            glyphs = jnp.asarray(grid.glyphs)
            for row, ids in enumerate(shown(grid, layers)):
                frame = _overlay(frame, _product(ids, glyphs), grid.top + row * grid.cell[0], grid.left)
        return frame

    def _look_up(self, layers: Sequence[Fill | Stamp], patches: Sequence[Patch]) -> jax.Array:
        """Look up every pixel, where it is written.

        Four bytes, parts of two neighbouring pixels, are made at once, as a word; where a row is no whole number of words,
        each byte for itself. Rows with the same patches are a band, which has a kernel of its own: one for all would branch
        at every pixel.
        """
        size = self.obs_size
        owner = np.zeros((size, size), np.int32)  # the patch that each pixel belongs to, counted from 1
        for number, patch in enumerate(patches, 1):
            height, width = patch.image.shape[:2]
            owner[patch.top : patch.top + height, patch.left : patch.left + width] = number
        words = size % 4 == 0
        byte = np.arange(0, 3 * size, 4 if words else 3)  # where in a row each word, or else each pixel, begins
        pixels = [byte // 3, byte // 3 + 1] if words else [byte // 3]
        shift = (byte[None] % 3 * 8).astype(np.uint32)
        bands = []
        for rows in _runs(owner):
            owners = owner[rows[0]]
            colours = [self._cells(layers, rows, cols) for cols in pixels]
            for number in np.unique(owners[owners > 0]):
                inside = np.flatnonzero(owners == number)
                for which, cols in enumerate(pixels):
                    # Looked up in all columns and then chosen, which is cheaper than a branch.
                    patch = patches[number - 1].pick(rows, np.clip(cols, inside[0], inside[-1]))
                    colours[which] = jnp.where(owners[None, cols] == number, patch, colours[which])
            bands.append(colours[0] >> shift | colours[1] << (24 - shift) if words else colours[0])
        drawn = bands[0] if len(bands) == 1 else _stack(*bands)
        if words:
            return lax.bitcast_convert_type(drawn, jnp.uint8).reshape(size, size, 3)
        return (drawn[..., None] >> np.array([[[0, 8, 16]]], np.uint32)).astype(jnp.uint8)

    def _cells(self, layers: Sequence[Fill | Stamp], rows: np.ndarray, cols: np.ndarray) -> jax.Array:
        """Look up the colours of background and cells in some rows and columns: uint32[rows, cols].

        A pixel has a slot, which tells its cell, and a texel, its place there. The cells' glyphs, known at run time, tell
        where in one table of colours the texels of each slot begin.
        """
        here = np.ix_(rows, cols)
        if not any(grid.top <= rows[-1] and rows[0] < grid.top + grid.rows * grid.cell[0] for grid in self.grids):
            return jnp.asarray(pack(self.background[here]))
        begins = [jnp.zeros(1, jnp.uint32)]
        slot = np.zeros((self.obs_size, self.obs_size), np.uint32)
        texel = np.arange(self.obs_size**2, dtype=np.uint32).reshape(slot.shape)
        colours, used, first_cell = [self.background.reshape(-1, 3)], self.obs_size**2, 1
        for grid in self.grids:
            height, width = grid.cell
            ids = shown(grid, layers)
            begins.append((used + ids * (height * width)).astype(jnp.uint32).reshape(-1))
            cells = np.arange(first_cell, first_cell + grid.rows * grid.cols, dtype=np.uint32).reshape(grid.rows, grid.cols)
            box = np.s_[grid.top : grid.top + grid.rows * height, grid.left : grid.left + grid.cols * width]
            slot[box] = np.kron(cells, np.ones((height, width), np.uint32))
            texel[box] = np.tile(np.arange(height * width, dtype=np.uint32).reshape(height, width), (grid.rows, grid.cols))
            colours.append(grid.glyphs.reshape(-1, 3))
            used, first_cell = used + len(colours[-1]), first_cell + grid.rows * grid.cols
        return take(pack(np.concatenate(colours)), take(jnp.concatenate(begins), slot[here]) + texel[here])


def shown(grid: Grid, layers: Sequence[Fill | Stamp]) -> jax.Array:
    """Return the glyph that each cell of a grid shows, int32[rows, cols]."""
    ids = jnp.zeros((grid.rows, grid.cols), jnp.int32)
    for layer in layers:
        if layer.grid is not grid:
            continue
        if isinstance(layer, Fill):
            ids = lax.dynamic_update_slice(ids, layer.ids.astype(jnp.int32), (layer.first_row, 0))
        else:
            row, col = layer.position
            here = (np.arange(grid.rows)[:, None] == row) & (np.arange(grid.cols)[None, :] == col)
            ids = jnp.where(here, layer.glyph.astype(jnp.int32), ids)
    return ids


@jax.jit  # traced once for all rows
def _product(ids: jax.Array, glyphs: jax.Array) -> jax.Array:
    """Show glyphs, uint8[number, height, width, 3], side by side: uint8[height, len(ids) * width, 3]."""
    # Colours are whole numbers up to 255, which have eight bits, as many as bfloat16 tells apart.
    chosen = (ids[:, None] == np.arange(len(glyphs))[None, :]).astype(jnp.bfloat16)
    cells = jnp.einsum("cg,ghwd->hcwd", chosen, glyphs.astype(jnp.bfloat16))
    return cells.astype(jnp.uint8).reshape(glyphs.shape[1], -1, 3)


def pack(colours: np.ndarray) -> np.ndarray:
    """Write colours, uint8[..., 3], as words, uint32[...]: red in the lowest byte, nothing in the highest."""
    return colours.astype(np.uint32) @ np.array([1, 1 << 8, 1 << 16], np.uint32)


def take(table: jax.Array | np.ndarray, index: jax.Array | np.ndarray) -> jax.Array:
    """Look up entries of a table, [n], at indices, uint32[...], all below n."""
    table = jnp.asarray(table)
    # To vmap every index is one of its own, else it would transpose what is looked up, and write it to memory.
    index = index + (table[0].astype(jnp.uint32) & 0)
    return table.at[index].get(mode="promise_in_bounds")


def _runs(values: np.ndarray) -> list[np.ndarray]:
    """Split the indices of rows, [rows, ...], into runs of equal rows."""
    differs = np.any((values[1:] != values[:-1]).reshape(len(values) - 1, -1), 1)
    return np.split(np.arange(len(values)), np.flatnonzero(differs) + 1)


def _groups(grid: Grid) -> list[list[int]]:
    """Split the columns of a grid into runs that are copied together."""
    size = 1
    while size < grid.cols and grid.fillable ** (size + 1) * (size + 1) * grid.glyphs[0].size <= _ATLAS_BYTES:
        size += 1
    return [list(range(first, min(first + size, grid.cols))) for first in range(0, grid.cols, size)]


def _combine(glyphs: np.ndarray, count: int) -> np.ndarray:
    """All rows of `count` glyphs: uint8[glyphs ** count, height, count * width, 3], the last glyph counting fastest."""
    digits = np.indices((len(glyphs),) * count).reshape(count, -1)
    return np.concatenate([glyphs[digit] for digit in digits], axis=2)


def _pick(images: jax.Array, index: jax.Array) -> jax.Array:
    # An unsigned index spares the test for negative ones.
    return lax.dynamic_index_in_dim(images, index.astype(jnp.uint32), keepdims=False)


def _by_rows(images: np.ndarray, pixel: tuple[int, ...]) -> np.ndarray:
    """Reshape images, uint8[..., height, width, 3], to [..., height, width, 3] or [..., height, 3 * width]."""
    return images.reshape(*images.shape[:-2], -1, *pixel)


def _copy_rows(frame: jax.Array, atlas: jax.Array, numbers: jax.Array, top: int, left: int) -> jax.Array:
    """Copy images, whose numbers in the atlas are given, one below the other."""

    def copy(row: int | jax.Array, frame: jax.Array) -> jax.Array:
        return _overlay(frame, _pick(atlas, numbers[row]), top + row * atlas.shape[1], left)

    if len(numbers) < _LOOPED_ROWS:
        return functools.reduce(lambda frame, row: copy(row, frame), range(len(numbers)), frame)
    return lax.fori_loop(0, len(numbers), copy, frame)


def _settled(frame: jax.Array) -> jax.Array:
    """Return a frame, [rows, bytes], as it is, by a loop, which XLA does not merge with what comes next.

    A reshape it would merge with the last box that is copied, and copy the whole frame for that.
    """
    return lax.fori_loop(0, 2, lambda _, frame: lax.dynamic_update_slice(frame, frame[:1, :1], (0, 0)), frame)


@jax.custom_batching.custom_vmap
def _stack(*bands: jax.Array) -> jax.Array:
    """Put bands, uint32[..., rows, columns], one below the other, each of which writes its own part of the memory."""
    *batch, _, cols = bands[0].shape
    ends = np.cumsum([band.shape[-2] for band in bands])
    # Releases of JAX that cannot leave memory as it is fill it first.
    stack = getattr(lax, "empty", jnp.zeros)((*batch, int(ends[-1]), cols), bands[0].dtype)
    for band, end in zip(bands, ends, strict=True):
        stack = lax.dynamic_update_slice(stack, band, (*[0] * len(batch), int(end) - band.shape[-2], 0))
    return stack


# vmap's own rule would copy the empty memory, which depends on no frame, for each of them.
@_stack.def_vmap
def _stack_batched(size: int, batched: Sequence[bool], *bands: jax.Array) -> tuple[jax.Array, bool]:
    every = [
        band if has_batch else jnp.broadcast_to(band, (size, *band.shape))
        for band, has_batch in zip(bands, batched, strict=True)
    ]
    return _stack(*every), True


def _overlay(frame: jax.Array, image: jax.Array, top: int | jax.Array, left: int | jax.Array) -> jax.Array:
    """Put an image at (top, left), in pixels; both are [height, width, 3] or both [height, 3 * width]."""
    corner = (top, left, 0) if frame.ndim == 3 else (top, 3 * left)
    return lax.dynamic_update_slice(frame, image, corner)


def _overlaid(frame: jax.Array, patches: Sequence[Patch]) -> jax.Array:
    for patch in patches:
        frame = _overlay(frame, patch.image, patch.top, patch.left)
    return frame
