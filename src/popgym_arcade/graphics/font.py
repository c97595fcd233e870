"""Two pixel fonts: 5 x 7, and 3 x 5 for the smallest frames."""

import functools

import numpy as np

# Letters stand side by side, in the order of the line above them.
_LARGE = (
    (
        "A     B     C     D     E     F     G     H     I     J     K     L     M",
        ".###. ####. .###. ####. ##### ##### .###. #...# .###. ..### #...# #.... #...#",
        "#...# #...# #...# #...# #.... #.... #...# #...# ..#.. ...#. #..#. #.... ##.##",
        "#...# #...# #.... #...# #.... #.... #.... #...# ..#.. ...#. #.#.. #.... #.#.#",
        "##### ####. #.... #...# ####. ####. #.### ##### ..#.. ...#. ##... #.... #.#.#",
        "#...# #...# #.... #...# #.... #.... #...# #...# ..#.. ...#. #.#.. #.... #...#",
        "#...# #...# #...# #...# #.... #.... #...# #...# ..#.. #..#. #..#. #.... #...#",
        "#...# ####. .###. ####. ##### #.... .###. #...# .###. .##.. #...# ##### #...#",
    ),
    (
        "N     O     P     Q     R     S     T     U     V     W     X     Y     Z",
        "#...# .###. ####. .###. ####. .#### ##### #...# #...# #...# #...# #...# #####",
        "##..# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# #...# #...# ....#",
        "#.#.# #...# #...# #...# #...# #.... ..#.. #...# #...# #...# .#.#. .#.#. ...#.",
        "#..## #...# ####. #...# ####. .###. ..#.. #...# #...# #.#.# ..#.. ..#.. ..#..",
        "#...# #...# #.... #.#.# #.#.. ....# ..#.. #...# #...# #.#.# .#.#. ..#.. .#...",
        "#...# #...# #.... #..#. #..#. ....# ..#.. #...# .#.#. ##.## #...# ..#.. #....",
        "#...# .###. #.... .##.# #...# ####. ..#.. .###. ..#.. #...# #...# ..#.. #####",
    ),
    (
        "0     1     2     3     4     5     6     7     8     9     +     -     %     /     ?",
        ".###. ..#.. .###. .###. ...#. ##### .###. ##### .###. .###. ..... ..... ##..# ....# .###.",
        "#...# .##.. #...# #...# ..##. #.... #.... ....# #...# #...# ..#.. ..... ##..# ....# #...#",
        "#..## ..#.. ....# ....# .#.#. ####. #.... ...#. #...# #...# ..#.. ..... ...#. ...#. ....#",
        "#.#.# ..#.. ...#. ..##. #..#. ....# ####. ..#.. .###. .#### ##### ##### ..#.. ..#.. ...#.",
        "##..# ..#.. ..#.. ....# ##### ....# #...# .#... #...# ....# ..#.. ..... .#... .#... ..#..",
        "#...# ..#.. .#... #...# ...#. #...# #...# .#... #...# ....# ..#.. ..... #..## #.... .....",
        ".###. .###. ##### .###. ...#. .###. .###. .#... .###. .###. ..... ..... #..## #.... ..#..",
    ),
)
_SMALL = (
    (
        "A   B   C   D   E   F   G   H   I   J   K   L   M   N   O   P   Q   R   S   T   U   V   W   X   Y   Z",
        ".#. ##. .## ##. ### ### .## #.# ### ..# #.# #.. #.# ##. .#. ##. .#. ##. .## ### #.# #.# #.# #.# #.# ###",
        "#.# #.# #.. #.# #.. #.. #.. #.# .#. ..# #.# #.. ### #.# #.# #.# #.# #.# #.. .#. #.# #.# #.# #.# #.# ..#",
        "### ##. #.. #.# ##. ##. #.# ### .#. ..# ##. #.. ### #.# #.# ##. #.# ##. .#. .#. #.# #.# ### .#. .#. .#.",
        "#.# #.# #.. #.# #.. #.. #.# #.# .#. #.# #.# #.. #.# #.# #.# #.. ### #.# ..# .#. #.# #.# ### #.# .#. #..",
        "#.# ##. .## ##. ### #.. .## #.# ### .#. #.# ### #.# #.# .#. #.. .## #.# ##. .#. ### .#. #.# #.# .#. ###",
    ),
    (
        "0   1   2   3   4   5   6   7   8   9   +   -   %   /   ?",
        "### .#. ### ### #.# ### ### ### ### ### ... ... #.# ..# ##.",
        "#.# ##. ..# ..# #.# #.. #.. ..# #.# #.# .#. ... ..# ..# ..#",
        "#.# .#. ### .## ### ### ### ..# ### ### ### ### .#. .#. .#.",
        "#.# .#. #.. ..# ..# ..# #.# .#. #.# ..# .#. ... #.. #.. ...",
        "### ### ### ### ..# ### ### .#. ### ### ... ... #.# #.. .#.",
    ),
)


def _cut(sheet: tuple[tuple[str, ...], ...]) -> dict[str, np.ndarray]:
    glyphs = {}
    for names, *rows in sheet:
        cells = np.array([[list(cell) for cell in row.split()] for row in rows]) == "#"
        glyphs.update(zip(names.split(), cells.swapaxes(0, 1), strict=True))
    glyphs[" "] = np.zeros_like(glyphs["A"])
    return glyphs


@functools.cache
def _fonts() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    return _cut(_LARGE), _cut(_SMALL)


def _font(height: int) -> tuple[dict[str, np.ndarray], int]:
    """Choose the font for a height, and the pixels per dot of it."""
    large, small = _fonts()
    return (large, height // 7) if height >= 7 else (small, 1)


def glyph(character: str, height: int) -> np.ndarray:
    """Draw a character, in capitals, as large as fits into `height` pixels, 5 at least, by whole dots.

    Returns:
        bool[h, w], h <= height, without any margin.

    Raises:
        KeyError: if the fonts lack the character.
    """
    font, dot = _font(height)
    return np.kron(font[character.upper()], np.ones((dot, dot), bool))


def text(characters: str, height: int) -> np.ndarray:
    """Draw a line of text as `glyph` draws its characters, one column of dots between two of them."""
    drawn = [glyph(character, height) for character in characters]
    gap = np.zeros((len(drawn[0]), spacing(height)), bool)
    return np.concatenate([part for mask in drawn for part in (mask, gap)][:-1], axis=1)


def spacing(height: int) -> int:
    """The width of the gap between two characters, in pixels."""
    return _font(height)[1]
