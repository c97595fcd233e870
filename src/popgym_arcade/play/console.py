"""A terminal, by blessed: two pixels in every character, in 24-bit colour; good over ssh."""

import contextlib
import os
import signal
import sys
import textwrap
import time
from typing import Any

import numpy as np

from popgym_arcade.environment import OBS_SIZES
from popgym_arcade.graphics import palette
from popgym_arcade.play.display import Command, Key, NoDisplayError, Page

_HALF = "▀"
_KEYS = {
    "KEY_UP": Command.UP,
    "KEY_DOWN": Command.DOWN,
    "KEY_LEFT": Command.LEFT,
    "KEY_RIGHT": Command.RIGHT,
    " ": Command.FIRE,
    "r": Command.RESTART,
    "t": Command.SWITCH,
    "b": Command.BOTH,
    "h": Command.GOAL,
    "p": Command.PAUSE,
    "m": Command.MENU,
    "KEY_ENTER": Command.CHOOSE,
    "KEY_ESCAPE": Command.QUIT,
    "q": Command.QUIT,
}
_LOOK_EVERY = 0.5  # seconds between looks at the terminal's size
_TEXT_ROWS = 6

# What a character cell shows, with its two colours.
_CELL = np.dtype([("char", "U1"), ("front", np.uint8, 3), ("back", np.uint8, 3)])


class Console:
    """A display in a terminal. Only what has changed is sent.

    Raises:
        ModuleNotFoundError: if blessed is missing.
        NoDisplayError: if standard input and output are no terminal.
    """

    can_see_releases = False

    def __init__(self) -> None:
        try:
            import blessed
        except ModuleNotFoundError:
            raise ModuleNotFoundError("a terminal needs blessed: pip install 'popgym-arcade[human]'") from None
        if not all(stream is not None and stream.isatty() for stream in (sys.stdin, sys.stdout)):
            raise NoDisplayError("--terminal needs a terminal: standard input and output are none")
        kind = os.environ.get("TERM", "")
        self._term = blessed.Terminal()
        if kind in ("", "dumb", "unknown") or not self._term.does_styling or self._term.number_of_colors == 0:
            raise NoDisplayError(f"--terminal needs a terminal with colours, not {kind!r}")
        self._cells = np.zeros((0, 0), _CELL)
        self._stack = contextlib.ExitStack()
        self._enter()
        if hasattr(signal, "SIGTSTP"):
            signal.signal(signal.SIGTSTP, self._suspend)

    def _enter(self) -> None:
        for mode in (self._term.fullscreen(), self._term.cbreak(), self._term.hidden_cursor()):
            self._stack.enter_context(mode)

    def _suspend(self, *_: Any) -> None:
        """Ctrl-Z: leave the terminal as it was, stop, and take it again when the shell goes on."""
        self._stack.close()
        os.kill(os.getpid(), signal.SIGSTOP)
        self._enter()
        self._cells = np.zeros((0, 0), _CELL)

    def close(self) -> None:
        """Give the terminal back as it was."""
        if hasattr(signal, "SIGTSTP"):
            signal.signal(signal.SIGTSTP, signal.SIG_DFL)
        self._stack.close()

    def fitting_size(self) -> int:
        """Return the size of frames, up to 128, that fits; the smallest there is, if none does."""
        room = min(self._term.width, 2 * (self._term.height - _TEXT_ROWS), 128)
        return max(room, OBS_SIZES[0])

    def poll(self, seconds: float | None) -> Key | None:
        """See `Display`."""
        due = None if seconds is None else time.monotonic() + seconds
        while True:
            left = _LOOK_EVERY if due is None else due - time.monotonic()
            key = self._term.inkey(timeout=max(0.0, min(left, _LOOK_EVERY)))
            if key and (command := _KEYS.get(key.name or key.lower())):
                return Key(command)
            if (self._term.height, self._term.width) != self._cells.shape:
                return Key(Command.REDRAW)
            if due is not None and time.monotonic() >= due:
                return None

    def show(self, page: Page) -> None:
        """See `Display`."""
        rows, columns = self._term.height, self._term.width
        cells = np.zeros((rows, columns), _CELL)
        cells["char"], cells["back"] = " ", palette.NIGHT
        is_small = page.frames and min(columns // len(page.frames), 2 * (rows - _TEXT_ROWS)) < len(page.frames[0])
        hint = "   (a larger terminal shows every pixel)" if is_small else ""
        _write(cells, 0, page.title + hint, palette.WHITE)
        lines = [
            (words, (palette.WHITE, palette.YELLOW)[number] if number < 2 else palette.SKY)
            for number, text in enumerate(page.lines)
            for words in textwrap.wrap(text, columns) or [""]
        ]
        last = max(1, rows - len(lines))
        for number, (words, colour) in enumerate(lines):
            _write(cells, last + number, words, colour)
        middle = cells[1:last]
        if page.menu:
            menu, middle = middle[:, : columns * 2 // 5], middle[:, columns * 2 // 5 :]
            _list(menu, page.menu, page.selected)
        _hang(middle, page)
        self._send(cells)

    def _send(self, cells: np.ndarray) -> None:
        known = self._cells.shape == cells.shape
        changed = self._cells != cells if known else np.ones(cells.shape, bool)
        out = [] if known else [str(self._term.clear)]
        for row in np.flatnonzero(changed.any(1)):
            colours, column = None, -1
            for next_column in np.flatnonzero(changed[row]):
                cell = cells[row, next_column]
                if next_column != column:
                    out.append(self._term.move_yx(int(row), int(next_column)))
                if colours != (wanted := (*cell["front"], *cell["back"])):
                    out.append("\x1b[38;2;{};{};{};48;2;{};{};{}m".format(*wanted))
                    colours = wanted
                out.append(str(cell["char"]))
                column = next_column + 1
        self._cells = cells
        if out:
            sys.stdout.write("".join(out) + self._term.normal)
            sys.stdout.flush()


def _write(cells: np.ndarray, row: int, words: str, colour: palette.Colour) -> None:
    """Centre words in a row, if there is such a row."""
    columns = cells.shape[1]
    words = words[:columns]
    if 0 <= row < len(cells):
        left = (columns - len(words)) // 2
        cells["char"][row, left : left + len(words)] = list(words)
        cells["front"][row] = colour


def _list(cells: np.ndarray, menu: tuple[str, ...], selected: int) -> None:
    """Write the menu, as much of it around the selected line as there is room for."""
    first = max(0, min(selected - len(cells) // 2, len(menu) - len(cells)))
    top = max(0, (len(cells) - len(menu)) // 2)
    for number, words in enumerate(menu[first : first + len(cells)], first):
        row = top + number - first
        _write(cells, row, words, palette.NIGHT if number == selected else palette.WHITE)
        if number == selected:
            cells["back"][row, 1:-1] = palette.SKY


def _hang(cells: np.ndarray, page: Page) -> None:
    """Show the frames, each over its caption."""
    if not page.frames:
        return
    rows, columns = cells.shape
    rows -= bool(page.captions)
    share = columns // len(page.frames)
    size = len(page.frames[0])
    room = min(share, 2 * rows)
    side = room // size * size or room // 2 * 2
    if side <= 0:
        return
    top = (rows - -(-side // 2)) // 2
    for number, frame in enumerate(page.frames):
        left = share * number + (share - side) // 2
        picture = resized(frame, side)
        picture = np.pad(picture, ((0, side % 2), (0, 0), (0, 0)), mode="edge")
        part = cells[top : top + len(picture) // 2, left : left + side]
        part["char"], part["front"], part["back"] = _HALF, picture[::2], picture[1::2]
        if page.captions:
            _write(cells[:, share * number : share * (number + 1)], rows, page.captions[number], palette.WHITE)


def resized(frame: np.ndarray, side: int) -> np.ndarray:
    """Bring a frame, uint8[size, size, 3], to another size: each new pixel is the mean of what it covers."""
    size = len(frame)
    edges = np.linspace(0, size, side + 1)
    pixels = np.arange(size)
    overlap = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    weights = np.clip(overlap, 0, None) * side / size
    return np.rint(np.einsum("ai,bj,ijc->abc", weights, weights, frame, optimize=True)).astype(np.uint8)
