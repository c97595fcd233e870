"""A display that plays by a script, for tests."""

import collections
from collections.abc import Iterable

from popgym_arcade.play.display import Command, Key, Page

TICK = "tick"
"""In a script: the time passes that the loop would wait."""


class Script:
    """Presses keys when the loop asks for them, keeps the pages it is shown, and has a clock of its own.

    Entries are commands, keys and ticks. To wait for a tick without an end is an error.
    """

    can_see_releases = True

    def __init__(self, entries: Iterable[Command | Key | str]) -> None:
        self._entries = collections.deque(entries)
        self.pages: list[Page] = []
        self.now = 0.0

    def monotonic(self) -> float:
        return self.now

    def show(self, page: Page) -> None:
        self.pages.append(page)

    def poll(self, seconds: float | None) -> Key | None:
        entry = self._entries.popleft()
        if isinstance(entry, Command):
            return Key(entry)
        if isinstance(entry, Key):
            return entry
        assert seconds is not None, "waits for a key that nobody will press"
        self.now += seconds
        return None
