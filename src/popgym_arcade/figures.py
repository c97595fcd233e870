"""What all figures share: a style, colours, files. They need no display, no LaTeX and no state of pyplot.

Colours are those of Okabe and Ito, which the colour-blind can tell apart.
"""

import contextlib
import io
import pathlib
from collections.abc import Iterator

from popgym_arcade import files

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
