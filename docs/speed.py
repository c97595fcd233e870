"""Draw docs/speed.png: frames per second beside popgym-arcade 0.0.7, and time per frame beside C and filling the memory.

    python docs/speed.py

reads what `benchmarks/compare.py` and `benchmarks/plain.py` measured on a CPU, in `benchmarks/results/`.
"""

import argparse
import json
import pathlib
import statistics
from typing import Any

from popgym_arcade import figures

HERE = pathlib.Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results"
OURS = "this package"


def main() -> None:
    """Read, draw, write."""
    argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0]).parse_args()
    compared = json.loads((RESULTS / "cpu-amd-epyc.json").read_bytes())
    plain = json.loads((RESULTS / "plain-cpu.json").read_bytes())
    with figures.style():
        figure = figures.Figure(figsize=(10.5, 4.4), layout="constrained")
        rates, times = figure.subplots(1, 2)
        _draw_rates(rates, compared)
        _draw_times(times, plain["games"])
        figures.save(figure, HERE / "speed.png")


def _draw_rates(axis: Any, compared: dict[str, Any]) -> None:
    games = list(dict.fromkeys(each["env_id"] for each in compared["runs"]))
    for package, label, colour in (("peer", "popgym-arcade 0.0.7", figures.GREY), ("ours", OURS, figures.BLUE)):
        for partial_obs, view, face in ((False, "MDP", colour), (True, "POMDP", "white")):
            runs = [run for run in compared["runs"] if (run["package"], run["partial_obs"]) == (package, partial_obs)]
            medians = [
                statistics.median(run["frames_per_second"] for run in runs if run["env_id"] == env_id) for env_id in games
            ]
            axis.plot(medians, games, "o", color=colour, markerfacecolor=face, label=f"{label}, {view}")
    axis.set(xscale="log", xlabel="frames per second, two cores (logarithmic)")
    _finish(axis)


def _draw_times(axis: Any, games: list[dict[str, Any]]) -> None:
    names = [each["env"] for each in games]
    looks = (
        ("ours", OURS, "o", figures.BLUE),
        ("c", "C, drawing alone", "D", figures.ORANGE),
        ("fill", "filling the memory", "s", figures.GREEN),
    )
    for key, label, marker, colour in looks:
        axis.plot([each[key] for each in games], names, marker, color=colour, label=label)
    axis.set(xlim=(0, None), xlabel="microseconds of CPU per frame")
    _finish(axis)


def _finish(axis: Any) -> None:
    axis.invert_yaxis()
    axis.grid(alpha=0.3)
    axis.legend(frameon=False, loc="lower center", bbox_to_anchor=(0.5, 1), ncols=2, fontsize=8)


if __name__ == "__main__":
    main()
