"""Draw docs/speed.png: frames per second of every game, ours beside popgym-arcade 0.0.7, C and filling the memory.

    python docs/speed.py

reads what `benchmarks/compare.py` and `benchmarks/plain.py` measured on a CPU, in `benchmarks/results/`.
"""

import json
import pathlib
import statistics
from typing import Any

from popgym_arcade import figures
from popgym_arcade.environment import view_name

HERE = pathlib.Path(__file__).parent
RESULTS = HERE.parent / "benchmarks" / "results"
PACKAGES = {"peer": ("popgym-arcade 0.0.7", figures.GREY), "ours": ("this package", figures.BLUE)}


def main() -> None:
    """Read, draw, write."""
    compared = json.loads((RESULTS / "cpu-amd-epyc.json").read_bytes())
    plain = json.loads((RESULTS / "plain-cpu.json").read_bytes())
    # A C program of one thread: its frames by a second of a core, on as many cores as the others had.
    by_c = {each["env"]: compared["machine"]["cores"] * 1e6 / each["c"] for each in plain["games"]}
    with figures.style():
        figures.save(_figure(compared, by_c), HERE / "speed.png")


def _figure(compared: dict[str, Any], by_c: dict[str, float]) -> figures.Figure:
    games = list(dict.fromkeys(each["env_id"] for each in compared["runs"]))
    figure = figures.Figure(figsize=(9.6, 4.2), layout="constrained")
    for axis, partial_obs in zip(figure.subplots(1, 2, sharey=True), (False, True), strict=True):
        for package, (label, colour) in PACKAGES.items():
            rates = [
                statistics.median(
                    each["frames_per_second"]
                    for each in compared["runs"]
                    if (each["package"], each["env_id"], each["partial_obs"]) == (package, env_id, partial_obs)
                )
                for env_id in games
            ]
            axis.plot(rates, games, "o", color=colour, label=label)
        drawn = {env_id: by_c[name] for env_id in games if (name := f"{env_id} {view_name(partial_obs)}") in by_c}
        axis.plot(list(drawn.values()), list(drawn), "D", color=figures.ORANGE, markersize=4, label="C, drawing alone")
        axis.axvline(compared["fill_rate"], color=figures.GREEN, linestyle="--", label="filling the memory")
        axis.set(xscale="log", title=view_name(partial_obs), xlabel="frames per second")
        axis.grid(alpha=0.3)
    figure.axes[0].invert_yaxis()
    figure.axes[1].legend(frameon=False, loc="center left", bbox_to_anchor=(1, 0.5), fontsize=8)
    return figure


if __name__ == "__main__":
    main()
