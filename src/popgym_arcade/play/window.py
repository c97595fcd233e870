"""A window, by pygame-ce."""

import os
import sys
import time
from typing import Any

import numpy as np

from popgym_arcade.graphics import palette
from popgym_arcade.play.display import Command, Key, NoDisplayError, Page

_SIZE = (800, 740)
_WAKE_EVERY = 200  # milliseconds: SDL waits in C, where Python sees no signal
_SMALLEST_TEXT = 13
_REPEAT_AFTER, _REPEAT_EVERY = 300, 70  # milliseconds


class Window:
    """A display in a window that can be resized; frames are enlarged by whole numbers, so that pixels stay crisp.

    Raises:
        ModuleNotFoundError: if pygame-ce is missing.
        NoDisplayError: if there is no screen.
    """

    can_see_releases = True

    def __init__(self) -> None:
        os.environ.setdefault("PYGAME_HIDE_SUPPORT_PROMPT", "1")
        try:
            import pygame
        except ModuleNotFoundError:
            raise ModuleNotFoundError(
                "a window needs pygame-ce: pip install 'popgym-arcade[human]'; or play with --terminal"
            ) from None
        self._pygame = pygame
        # Without a screen SDL would open a window that nobody sees.
        screens = ("DISPLAY", "WAYLAND_DISPLAY", "SDL_VIDEODRIVER")
        if sys.platform == "linux" and not any(os.environ.get(name) for name in screens):
            raise NoDisplayError("no window can be opened here, there is no screen: try --terminal")
        try:
            pygame.display.init()
            pygame.font.init()
            pygame.display.set_mode(_SIZE, pygame.RESIZABLE)
        except pygame.error as error:
            raise NoDisplayError(f"no window can be opened here ({error}): try --terminal") from None
        pygame.display.set_caption("POPGym Arcade")
        pygame.key.set_repeat(_REPEAT_AFTER, _REPEAT_EVERY)
        self._fonts: dict[int, Any] = {}
        self._keys = {
            pygame.K_UP: Command.UP,
            pygame.K_DOWN: Command.DOWN,
            pygame.K_LEFT: Command.LEFT,
            pygame.K_RIGHT: Command.RIGHT,
            pygame.K_SPACE: Command.FIRE,
            pygame.K_r: Command.RESTART,
            pygame.K_t: Command.SWITCH,
            pygame.K_b: Command.BOTH,
            pygame.K_h: Command.GOAL,
            pygame.K_p: Command.PAUSE,
            pygame.K_m: Command.MENU,
            pygame.K_RETURN: Command.CHOOSE,
            pygame.K_KP_ENTER: Command.CHOOSE,
            pygame.K_ESCAPE: Command.QUIT,
            pygame.K_q: Command.QUIT,
        }

    def close(self) -> None:
        """Close the window."""
        self._pygame.quit()

    def poll(self, seconds: float | None) -> Key | None:
        """See `Display`."""
        pygame = self._pygame
        due = None if seconds is None else time.monotonic() + seconds
        while True:
            left = _WAKE_EVERY if due is None else int(1000 * (due - time.monotonic()))
            event = pygame.event.wait(max(1, min(left, _WAKE_EVERY)))  # a timeout of 0 would wait for ever
            if event.type == pygame.QUIT:
                return Key(Command.QUIT)
            if event.type in (pygame.KEYDOWN, pygame.KEYUP) and event.key in self._keys:
                return Key(self._keys[event.key], event.type == pygame.KEYDOWN)
            if event.type in (pygame.WINDOWEXPOSED, pygame.WINDOWSIZECHANGED):
                return Key(Command.REDRAW)
            if due is not None and time.monotonic() >= due:
                return None

    def show(self, page: Page) -> None:
        """See `Display`."""
        surface = self._surface
        width, height = surface.get_size()
        text = max(_SMALLEST_TEXT, min(height // 32, width // 42))
        line = text * 3 // 2
        surface.fill(palette.NIGHT)
        self._write(page.title, text, (width // 2, line), palette.WHITE)
        bottom = height - line * len(page.lines) - line // 2
        for number, words in enumerate(page.lines):
            colour = palette.WHITE if number == 0 else palette.YELLOW if number == 1 else palette.SKY
            self._write(words, text, (width // 2, bottom + line * number + line // 2), colour)
        left = 0
        if page.menu:
            left = width * 2 // 5
            spacing = min(line * 3 // 2, (bottom - 2 * line) // len(page.menu))
            top = (2 * line + bottom - spacing * len(page.menu)) // 2
            for number, words in enumerate(page.menu):
                chosen = number == page.selected
                middle = (left // 2, top + spacing * number + spacing // 2)
                if chosen:
                    bar = self._pygame.Rect(0, 0, left * 9 // 10, spacing)
                    bar.center = middle
                    self._pygame.draw.rect(surface, palette.SKY, bar, border_radius=spacing // 4)
                self._write(words, text, middle, palette.NIGHT if chosen else palette.WHITE)
        area = (left, 2 * line, width - left, bottom - 2 * line)
        self._hang(page, area, text)
        self._pygame.display.flip()

    @property
    def _surface(self) -> Any:
        return self._pygame.display.get_surface()  # another one after the window was resized

    def _hang(self, page: Page, area: tuple[int, int, int, int], text: int) -> None:
        """Show the frames in a part of the window, as large as whole numbers allow, each over its caption."""
        left, top, width, height = area
        height -= 2 * text if page.captions else 0
        share = width // max(1, len(page.frames))
        for number, frame in enumerate(page.frames):
            size = len(frame)
            room = max(1, min(share, height))
            size = room // size * size or room
            picture = self._pygame.surfarray.make_surface(np.swapaxes(frame, 0, 1))
            transform = self._pygame.transform
            picture = (transform.scale if size >= len(frame) else transform.smoothscale)(picture, (size, size))
            x, y = left + share * number + (share - size) // 2, top + (height - size) // 2
            self._surface.blit(picture, (x, y))
            if page.captions:
                self._write(page.captions[number], text, (x + size // 2, y + size + text), palette.WHITE)

    def _write(self, words: str, size: int, middle: tuple[int, int], colour: Any) -> None:
        if size not in self._fonts:
            self._fonts[size] = self._pygame.font.Font(None, size * 3 // 2)
        image = self._fonts[size].render(words, True, colour)
        surface = self._surface
        if image.get_width() > surface.get_width():  # rather small than cut off
            image = self._pygame.transform.smoothscale_by(image, surface.get_width() / image.get_width())
        surface.blit(image, image.get_rect(center=middle))
