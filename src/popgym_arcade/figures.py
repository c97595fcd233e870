"""What all figures share: a style, colours, files. They need no display, no LaTeX and no state of pyplot.

Colours are those of Okabe and Ito, which the colour-blind can tell apart.
"""

import contextlib
import io
import pathlib
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from popgym_arcade import files
from popgym_arcade.scores import Aggregate
from popgym_arcade.tables import Table

try:
    import matplotlib as mpl
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure
    from matplotlib.ticker import MaxNLocator as MaxNLocator
except ModuleNotFoundError as error:
    raise ModuleNotFoundError("figures need matplotlib: pip install 'popgym-arcade[baselines]'") from error

FORMATS = ("png", "pdf", "svg")
BLUE, ORANGE, GREEN, VERMILLION, GREY = "#0072B2", "#E69F00", "#009E73", "#D55E00", "#666666"
COLOURS = (BLUE, ORANGE, GREEN, VERMILLION, "#CC79A7", "#56B4E9", "#000000")
MARKERS = "osD^vPX"
TABLE = ".csv"
"""The ending of the numbers behind a figure."""


def checked_format(path: pathlib.Path) -> str:
    """Return the format that a name asks for, or raise.

    Raises:
        ValueError: if it is none of `FORMATS`; the error names them.
    """
    suffix = path.suffix.lower().removeprefix(".")
    if suffix not in FORMATS:
        raise ValueError(f"a figure's name must end in {', '.join('.' + name for name in FORMATS)}, got {str(path)!r}")
    return suffix


def save(figure: Figure, path: pathlib.Path) -> None:
    """Write a figure, in the format that its name asks for.

    Raises:
        OSError: if it cannot be written; then nothing has changed.
        ValueError: if the name asks for another format.
    """
    content = io.BytesIO()
    with style():
        FigureCanvasAgg(figure)
        figure.savefig(content, format=checked_format(path), dpi=150)
    files.write_whole(path, content.getvalue())


def check_outputs(path: pathlib.Path) -> None:
    """See that a figure, and the numbers behind it, can be written; see `save_with_table`.

    Raises:
        OSError: if not.
        ValueError: if the name asks for no format that there is.
    """
    checked_format(path)
    for written in (path, path.with_suffix(TABLE)):
        files.check_folder(written)


def save_with_table(path: pathlib.Path, figure: Figure, table: Table) -> None:
    """Write a figure, and the numbers behind it beside it, and say so; the errors are those of `check_outputs`."""
    save(figure, path)
    table.save(path.with_suffix(TABLE))
    print(f"wrote {path} and {path.with_suffix(TABLE)}")


def look(number: int) -> tuple[str, str]:
    """Return the colour and the marker of one of many: when all colours have been used, the next marker begins."""
    return COLOURS[number % len(COLOURS)], MARKERS[number // len(COLOURS) % len(MARKERS)]


def estimates(
    axis: Any, found: Sequence[Aggregate], places: Sequence[float], number: int, label: str, upright: bool = False
) -> None:
    """Draw values with their intervals, where these are known, in rows or, upright, in columns joined by a line.

    Args:
        axis: where to, matplotlib's.
        found: the values.
        places: of their rows or columns.
        number: which of many they belong to, see `look`.
        label: its name.
        upright: whether they are in columns.
    """
    values = np.array([each.value for each in found])
    ends = np.array([[each.value - each.low for each in found], [each.high - each.value for each in found]])
    errors = None if np.isnan(ends).all() else np.maximum(np.nan_to_num(ends), 0)
    colour, marker = look(number)
    line = "-" if upright and len(values) > 1 else ""
    options: dict[str, Any] = {"linestyle": line, "marker": marker, "color": colour, "capsize": 2, "label": label}
    if upright:
        axis.errorbar(places, values, yerr=errors, **options)
    else:
        axis.errorbar(values, places, xerr=errors, **options)


@contextlib.contextmanager
def style() -> Iterator[None]:
    """Draw within this, whatever the user's own settings are: figures look the same everywhere, and LaTeX is not asked."""
    with mpl.rc_context():
        mpl.rcdefaults()
        mpl.rcParams.update(
            {
                "axes.spines.top": False,
                "axes.spines.right": False,
                "axes.unicode_minus": True,
                "figure.titlesize": 11,
                "axes.titlesize": 10,
                "svg.fonttype": "none",
                "pdf.fonttype": 42,
            }
        )
        yield
