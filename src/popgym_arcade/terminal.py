"""What commands print: tables and progress."""

import sys
from typing import TextIO


def table(header: list[str], rows: list[list[str]]) -> str:
    """Lay out a table in plain text, the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def show_progress(message: str, stream: TextIO | None = None) -> None:
    """Overwrite the progress line on a terminal; elsewhere write a line of its own."""
    stream = sys.stderr if stream is None else stream
    if stream.isatty():
        stream.write(f"\r\x1b[K{message}" + ("\n" if not message else ""))
    elif message:
        stream.write(message + "\n")
    stream.flush()
