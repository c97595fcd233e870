"""Make the table and the curves of docs/training.md from runs.

    python docs/learning.py RUN [RUN ...]

draws `docs/learning.png`, a panel for each game and view, and writes the table between its marks in `docs/training.md`: for
each run the mean greedy return over its seeds, with the 95 % interval between seeds, and the time that training took.
"""

import argparse
import io
import json
import pathlib
import sys
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from popgym_arcade import files
from popgym_arcade.baselines.training import config as configs
from popgym_arcade.baselines.training import logs, results, run
from popgym_arcade.environment import view_name

HERE = pathlib.Path(__file__).parent
PAGE = HERE / "training.md"
BEGIN, END = "<!-- made by docs/learning.py -->\n", "<!-- end -->\n"
COLUMNS = 3
COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7")
# Student's t at 97.5 %, by degrees of freedom.
STUDENT = {1: 12.71, 2: 4.30, 3: 3.18, 4: 2.78, 5: 2.57, 6: 2.45, 7: 2.36, 8: 2.31, 9: 2.26}


def main() -> int:
    """Draw the curves, write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("runs", nargs="+", type=pathlib.Path, metavar="RUN", help="a finished run of several seeds")
    options = parser.parse_args()
    configs_of = {folder: configs.read_config(folder / run.CONFIG) for folder in options.runs}
    files.write_whole(HERE / "learning.png", curves(configs_of))
    text = PAGE.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    files.write_whole(PAGE, (before + BEGIN + table(configs_of) + END + after).encode())
    return 0


def table(runs: dict[pathlib.Path, Any]) -> str:
    """Lay out a row for each run, in Markdown."""
    lines = [
        "| game | view | memory | return | 95 % interval | each seed | minutes a seed |",
        "|---|---|---|---|---|---|---|",
    ]
    for folder, config in runs.items():
        content = json.loads((folder / run.EVALUATION).read_bytes())
        means = np.array([result["mean"] for result in content["results"]])
        half = STUDENT[len(means) - 1] * means.std(ddof=1) / len(means) ** 0.5
        cells = [
            config.env_id,
            view_name(config.partial_obs),
            config.memory,
            f"**{means.mean():.3f}**",
            f"{means.mean() - half:.3f} to {means.mean() + half:.3f}",
            ", ".join(f"{mean:.2f}" for mean in means),
            f"{content['train_seconds'] / len(means) / 60:.1f}",
        ]
        lines.append(f"| {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def curves(runs: dict[pathlib.Path, Any]) -> bytes:
    """Draw training returns by steps, a panel for each game and view, a colour for each memory; a PNG."""
    panels = list(dict.fromkeys((config.env_id, config.partial_obs) for config in runs.values()))
    memories = list(dict.fromkeys(config.memory for config in runs.values()))
    columns = min(len(panels), COLUMNS)
    rows = -(-len(panels) // columns)
    figure = Figure(figsize=(3.6 * columns, 3.2 * rows), layout="constrained")
    for number, panel in enumerate(panels, 1):
        axes = figure.add_subplot(rows, columns, number)
        for folder, config in runs.items():
            if (config.env_id, config.partial_obs) == panel:
                colour = COLOURS[memories.index(config.memory)]
                places, seeds = results.smooth(logs.read_metrics(folder / run.METRICS), points=60)
                for seed in seeds:
                    axes.plot(places, seed, color=colour, alpha=0.35, linewidth=0.8)
                axes.plot(places, np.mean(seeds, axis=0), color=colour, linewidth=2, label=config.memory)
        axes.set(title=f"{panel[0]}, {view_name(panel[1])}", xlabel="environment steps", ylabel="return")
        axes.grid(alpha=0.3)
        axes.legend(frameon=False, title="memory")
        axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=110)
    return buffer.getvalue()


if __name__ == "__main__":
    sys.exit(main())
