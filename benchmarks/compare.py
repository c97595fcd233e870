"""Compare the speed of the games with that of the package popgym-arcade 0.0.7, which gets a virtual environment of its own.

Both packages are measured by the same code (`popgym_arcade/speed.py`), with the same games, sizes and actions, in
processes that take turns: ours, theirs, ours, theirs, ... Quoted are medians over the rounds. A configuration of which one
round takes longer than `--patience` is measured in that one round (the other package's AutoEncode compiles for minutes).
Run it as

    python benchmarks/compare.py [ENV_ID ...]

without which all Easy games are compared. `--no-peer` measures this package alone, for devices where the other one
cannot be installed. The figures are written to `benchmarks/results/` under the device's name, after each configuration.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time
from typing import Any

import peer

from popgym_arcade import arguments, files, registered_envs, speed, terminal
from popgym_arcade.environment import view_name

HERE = pathlib.Path(__file__).parent
Configuration = tuple[str, bool]
Runs = dict[tuple[str, Configuration], list[peer.Run]]


def main() -> int:
    """Measure, print the table, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "env_ids",
        nargs="*",
        type=arguments.env_id,
        metavar="ENV_ID",
        help="names such as NavigatorEasy (default: all Easy games)",
    )
    parser.add_argument("--num-envs", type=int, default=256, help="environments in a batch (default: 256)")
    parser.add_argument("--obs-size", type=int, default=128, help="size of the frames (default: 128)")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each package and configuration (default: 3)")
    parser.add_argument("--seconds", type=float, default=2.0, help="measuring time of a process (default: 2)")
    parser.add_argument("--patience", type=float, default=120.0, help="repeat rounds shorter than this (default: 120 s)")
    parser.add_argument("--no-peer", action="store_true", help="measure this package alone")
    parser.add_argument("--peer-venv", type=pathlib.Path, default=peer.FOLDER, help="where the peer is installed")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder for the figures")
    options = parser.parse_args()
    env_ids = options.env_ids or [name for name in registered_envs if name.endswith("Easy")]
    pythons = {"ours": [sys.executable, "-P"]}
    if not options.no_peer:
        pythons["peer"] = peer.python(options.peer_venv)
    configurations = [(env_id, partial_obs) for env_id in env_ids for partial_obs in (False, True)]
    runs: Runs = {}
    path = options.out
    with terminal.Progress() as progress:
        for number, configuration in enumerate(configurations):
            for turn in range(options.rounds):
                start = time.perf_counter()
                for package, python in pythons.items():
                    progress(
                        f"{number + 1}/{len(configurations)}  {configuration[0]}, {view(configuration)}, "
                        f"round {turn + 1}/{options.rounds}, {package}"
                    )
                    result = run_worker(python, configuration, options)
                    runs.setdefault((package, configuration), []).append(result)
                if time.perf_counter() - start > options.patience:
                    break
            path = write(runs, options)
    print_table(runs, configurations, options)
    print(f"wrote {path}")
    return 0


def view(configuration: Configuration) -> str:
    """Name the view of a configuration."""
    return view_name(configuration[1])


def run_worker(python: list[str], configuration: Configuration, options: argparse.Namespace) -> peer.Run:
    """Measure one configuration in a process of its own."""
    env_id, partial_obs = configuration
    command = [*python, speed.__file__, "--env-id", env_id, "--num-envs", str(options.num_envs)]
    command += ["--obs-size", str(options.obs_size), "--seconds", str(options.seconds)]
    command += ["--partial-obs"] if partial_obs else []
    return peer.run(command)


def ratios(runs: Runs) -> list[float]:
    """Return our rate over the peer's for each configuration measured."""
    rates = {key: peer.median(many, "frames_per_second") for key, many in runs.items()}
    return [
        rate / rates["peer", key] for (package, key), rate in rates.items() if package == "ours" and ("peer", key) in rates
    ]


def machine(runs: Runs) -> dict[str, Any]:
    """Describe what our figures were measured on."""
    first = next(many[0] for (package, _), many in runs.items() if package == "ours")
    return {name: first[name] for name in ("device", "backend", "processor", "cores", "python", "jax")}


def fill_rate(runs: Runs) -> float:
    """Return the median rate of filling arrays of the frames' shape."""
    return statistics.median(run["fill_rate"] for (package, _), many in runs.items() if package == "ours" for run in many)


def print_table(runs: Runs, configurations: list[Configuration], options: argparse.Namespace) -> None:
    """Print a line for each configuration, and the summary."""
    with_peer = not options.no_peer
    header = ["environment", "view", "frames/s", "of fill", "compile s", "memory"]
    header += ["peer's frames/s", "peer's compile s", "ratio"] if with_peer else []
    rows = []
    for configuration in configurations:
        ours = runs["ours", configuration]
        rate = peer.median(ours, "frames_per_second")
        row = [configuration[0], view(configuration), f"{rate:,.0f}", f"{rate / peer.median(ours, 'fill_rate'):.0%}"]
        row += [f"{peer.median(ours, 'compile_seconds'):.2f}", f"{peer.median(ours, 'memory_ratio'):.2f}"]
        if with_peer:
            peers = runs["peer", configuration]
            peers_rate = peer.median(peers, "frames_per_second")
            row += [f"{peers_rate:,.0f}", f"{peer.median(peers, 'compile_seconds'):.1f}", f"{rate / peers_rate:.0f}"]
        rows.append(row)
    fill = fill_rate(runs)
    print(", ".join(f"{name} {value}" for name, value in machine(runs).items()))
    print(f"{options.num_envs} environments, {options.obs_size} px")
    print(f"the device fills {fill:,.0f} such frames/s, {fill * options.obs_size**2 * 3 / 1e9:.1f} GB/s")
    print("of fill: our rate over that of filling an array of the frames' shape; memory: bytes of the step over its frames'")
    print(terminal.table(header, rows))
    if with_peer:
        print(f"ratio: geometric mean {statistics.geometric_mean(ratios(runs)):.0f}, lowest {min(ratios(runs)):.0f}")


def write(runs: Runs, options: argparse.Namespace) -> pathlib.Path:
    """Write all figures measured so far, and return the file."""
    about = machine(runs)
    path = options.out / f"{speed.file_name(about)}.json"
    summary = (
        {"geometric_mean": statistics.geometric_mean(ratios(runs)), "lowest": min(ratios(runs))} if ratios(runs) else {}
    )
    content = {
        "machine": about,
        "num_envs": options.num_envs,
        "obs_size": options.obs_size,
        "fill_rate": fill_rate(runs),
        "ratio": summary,
        "runs": [{"package": package, **run} for (package, _), many in runs.items() for run in many],
    }
    files.write_whole(path, (json.dumps(content, indent=1) + "\n").encode())
    return path


if __name__ == "__main__":
    sys.exit(main())
