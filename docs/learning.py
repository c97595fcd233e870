"""Make the tables and the curves of docs/training.md and docs/training/ from runs.

    python docs/learning.py RUN [RUN ...]

draws `docs/learning.png`, a panel for each game and view, and writes the table between its marks in `docs/training.md`: for
each run the mean greedy return over its seeds, with the 95 % interval between seeds, and the time that training took.

    python docs/learning.py --algorithms RUN [RUN ...]

keeps what the runs came to, thinned, in `docs/training/curves.json`, draws a figure for each algorithm, and writes the table
on its page.
"""

import argparse
import io
import json
import math
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from PIL import Image

from popgym_arcade import files
from popgym_arcade.baselines.training import config as configs
from popgym_arcade.baselines.training import logs, results, run
from popgym_arcade.environment import view_name

HERE = pathlib.Path(__file__).parent
PAGE = HERE / "training.md"
ALGORITHM_PAGES = HERE / "training"
CURVES = ALGORITHM_PAGES / "curves.json"
BEGIN, END = "<!-- made by docs/learning.py -->\n", "<!-- end -->\n"
COLUMNS = 3
POINTS = 60
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
# Student's t at 97.5 %, by degrees of freedom.
STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}


def main() -> int:
    """Draw the curves, write the tables."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=pathlib.Path, metavar="RUN", help="a finished run")
    parser.add_argument("--algorithms", action="store_true", help="of several algorithms, for the pages of docs/training/")
    options = parser.parse_args()
    told = [outcome(folder) for folder in options.runs]
    if options.algorithms:
        lines = ",\n".join(json.dumps(each) for each in told)
        files.write_whole(CURVES, f"[\n{lines}\n]\n".encode())
        for name in dict.fromkeys(each["algorithm"] for each in told):
            files.write_whole(ALGORITHM_PAGES / f"{name}.png", comparison(told, name))
            _fill(ALGORITHM_PAGES / f"{name}.md", table([each for each in told if each["algorithm"] == name]))
    else:
        files.write_whole(HERE / "learning.png", curves(told))
        _fill(PAGE, table(told))
    return 0


def _fill(page: pathlib.Path, text: str) -> None:
    """Write a text between the marks of a page."""
    before, _, rest = page.read_text().partition(BEGIN)
    _, _, after = rest.partition(END)
    files.write_whole(page, (before + BEGIN + text + END + after).encode())


def outcome(folder: pathlib.Path) -> dict[str, Any]:
    """Tell what a run was and what it came to: returns while training, thinned, and greedy ones at its end; fit for JSON."""
    config = configs.read_config(folder / run.CONFIG)
    content = json.loads((folder / run.EVALUATION).read_bytes())
    places, seeds = results.smooth(logs.read_metrics(folder / run.METRICS), points=POINTS)
    return {
        "algorithm": config.algorithm_name,
        "env_id": config.env_id,
        "view": view_name(config.partial_obs),
        "memory": config.memory,
        "greedy": [round(result["mean"], 4) for result in content["results"]],
        "minutes": round(content["train_seconds"] / len(content["results"]) / 60, 1),
        "steps": places.round().tolist(),
        "returns": [[None if math.isnan(value) else round(value, 4) for value in seed] for seed in seeds.tolist()],
    }


def table(told: list[dict[str, Any]]) -> str:
    """Lay out a row for each run, in Markdown; one seed alone has no interval."""
    lines = [
        "| game | view | memory | return | 95 % interval | each seed | minutes a seed |",
        "|---|---|---|---|---|---|---|",
    ]
    for each in told:
        means = np.array(each["greedy"])
        interval = "one seed"
        if len(means) > 1:
            half = STUDENT[len(means) - 1] * means.std(ddof=1) / len(means) ** 0.5
            interval = f"{means.mean() - half:.3f} to {means.mean() + half:.3f}"
        cells = [
            *(each[name] for name in ("env_id", "view", "memory")),
            f"**{means.mean():.3f}**",
            interval,
            ", ".join(f"{mean:.2f}" for mean in means),
            f"{each['minutes']:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def curves(told: list[dict[str, Any]]) -> bytes:
    """Draw training returns by steps, a panel for each game and view, a colour for each memory; a PNG."""
    memories = list(dict.fromkeys(each["memory"] for each in told))

    def draw(axes: Any, each: dict[str, Any]) -> None:
        _draw(axes, each, COLOURS[memories.index(each["memory"])], each["memory"])

    return _panels(told, draw, "memory")


def comparison(told: list[dict[str, Any]], algorithm: str) -> bytes:
    """Draw training returns of an algorithm, each seed and their mean, and the means of the others in grey; a PNG."""

    def draw(axes: Any, each: dict[str, Any]) -> None:
        name = each["algorithm"].upper()
        if each["algorithm"] == algorithm:
            _draw(axes, each, COLOURS[0], name)
        else:
            style = "--" if name == min({other["algorithm"].upper() for other in told} - {algorithm.upper()}) else ":"
            axes.plot(each["steps"], _mean(each), color="grey", linestyle=style, linewidth=1.2, label=name)

    return _panels(told, draw, "algorithm")


def _draw(axes: Any, each: dict[str, Any], colour: str, label: str) -> None:
    for seed in each["returns"] if len(each["returns"]) > 1 else ():
        axes.plot(each["steps"], np.array(seed, float), color=colour, alpha=0.35, linewidth=0.8)
    axes.plot(each["steps"], _mean(each), color=colour, linewidth=2, label=label)


def _mean(each: dict[str, Any]) -> np.ndarray:
    return np.mean(np.array(each["returns"], float), axis=0)


def _panels(told: list[dict[str, Any]], draw: Callable[[Any, dict[str, Any]], None], legend: str) -> bytes:
    """Draw each run into the panel of its game, view and, where the legend does not tell it, memory."""
    named = ("env_id", "view") if legend == "memory" else ("env_id", "view", "memory")
    panels = list(dict.fromkeys(tuple(each[name] for name in named) for each in told))
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.2 * rows), layout="constrained")
    for number, panel in enumerate(panels, 1):
        axes = figure.add_subplot(rows, columns, number)
        for each in told:
            if tuple(each[name] for name in named) == panel:
                draw(axes, each)
        title = f"{panel[0]}, {panel[1]}" + "".join(f", memory {memory}" for memory in panel[2:])
        axes.set(title=title, xlabel="environment steps", ylabel="return")
        axes.ticklabel_format(axis="x", scilimits=(0, 0))
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, title=legend)
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    small = io.BytesIO()
    Image.open(buffer).convert("RGB").quantize(64).save(small, format="png", optimize=True)
    return small.getvalue()


if __name__ == "__main__":
    sys.exit(main())
