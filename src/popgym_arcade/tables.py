"""Tables of numbers behind figures, as CSV."""

import csv
import io
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from popgym_arcade import files


class Table(NamedTuple):
    """Numbers in rows, whose columns have names."""

    header: tuple[str, ...]
    rows: Sequence[Sequence[Any]]

    def save(self, path: pathlib.Path) -> None:
        """Write a CSV file, numbers with six digits.

        Raises:
            OSError: if it cannot be written; then nothing has changed.
        """
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\n")
        writer.writerow(self.header)
        for row in self.rows:
            writer.writerow([f"{cell:.6g}" if isinstance(cell, float | np.floating) else cell for cell in row])
        files.write_whole(path, text.getvalue().encode())
