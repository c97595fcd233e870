"""Terminal output: tables and progress."""

import sys
import time
from typing import Any, Self


def table(header: list[str], rows: list[list[str]]) -> str:
    """Lay out a table in plain text, the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


class Progress:
    """A line on standard error that says how far long work is, in a `with` statement; it is wiped when the work ends.

    Where standard error is no terminal, each message is a line of its own, and most are left out.
    """

    def __init__(self) -> None:
        self._is_terminal = sys.stderr.isatty()
        self._pause = 0.1 if self._is_terminal else 5.0  # seconds, so that it can be read
        self._last = -self._pause

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: Any) -> None:
        self._wipe()

    def __call__(self, message: str) -> None:
        """Say how far it is, unless that was said a moment ago."""
        now = time.monotonic()
        if now - self._last >= self._pause:
            self._last = now
            self._wipe()
            sys.stderr.write(message if self._is_terminal else f"{message}\n")
            sys.stderr.flush()

    def _wipe(self) -> None:
        if self._is_terminal:
            sys.stderr.write("\r\x1b[K")
            sys.stderr.flush()
