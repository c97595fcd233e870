"""Terminal output: tables and progress."""

import sys


def table(header: list[str], rows: list[list[str]]) -> str:
    """Lay out a table in plain text, the first column to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [header, *rows]) for i in range(len(header))]
    lines = []
    for row in [header, ["-" * width for width in widths], *rows]:
        cells = [row[0].ljust(widths[0])] + [cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def show_progress(message: str) -> None:
    """Overwrite the progress line on standard error, or, where that is no terminal, write another line."""
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\x1b[K{message}")
    elif message:
        sys.stderr.write(f"{message}\n")
    sys.stderr.flush()
