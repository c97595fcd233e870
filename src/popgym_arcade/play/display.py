"""The protocol of displays: show a page, report keys. There are two: a window and a terminal."""

import dataclasses
import enum
from typing import NamedTuple, Protocol

import numpy as np


class NoDisplayError(OSError):
    """There is nothing to show a game on."""


class Command(enum.Enum):
    """The meanings of keys. The first five are the actions, by their numbers."""

    UP, DOWN, LEFT, RIGHT, FIRE, RESTART, SWITCH, BOTH, GOAL, PAUSE, MENU, CHOOSE, QUIT, REDRAW = range(14)

    @property
    def is_action(self) -> bool:
        """Whether it is one of the five actions."""
        return self.value <= 4


class Key(NamedTuple):
    """A key that went down or, where a display can tell, up."""

    command: Command
    is_down: bool = True


@dataclasses.dataclass(frozen=True, kw_only=True)
class Page:
    """A page: frames with captions in the middle, a menu beside them, text above and below."""

    title: str
    frames: tuple[np.ndarray, ...] = ()
    """uint8[size, size, 3], one or two of one size."""
    captions: tuple[str, ...] = ()
    menu: tuple[str, ...] = ()
    selected: int = 0
    lines: tuple[str, ...] = ()


class Display(Protocol):
    """A place to play."""

    can_see_releases: bool
    """Whether it reports keys that go up."""

    def show(self, page: Page) -> None:
        """Draw a page."""
        ...

    def poll(self, seconds: float | None) -> Key | None:
        """Wait for a key, at most some seconds, if not None, and return it, or None; takes no processor time meanwhile."""
        ...
