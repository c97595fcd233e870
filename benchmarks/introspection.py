"""Measure what looking into an agent costs: seconds and peak memory by steps, and against the plain way.

    python benchmarks/introspection.py

The plain way takes one gradient per decision and action, of a sequence that grows; a kind version of it, which is compiled,
and traced anew only when the sequence has grown. Both ways get the same agent, frames and target (sum), and keep all maps.
What streams keeps norms alone, as the command line does. Frames and actions are random: what is seen makes no difference to
the cost. Times are those of a first call, compiling included, and of a second one, which compiles nothing. Every measurement
has a process of its own, so peak memory is its own, too; that of a process which does nothing is subtracted.

The last line is a report of 50 decisions, and how long a browser takes to open it, where Chromium is installed. The
figures are written to `benchmarks/results/` under the device's name.
"""

import argparse
import json
import pathlib
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade import files, speed, terminal
from popgym_arcade.baselines.model.builder import MemoryNetwork, QNetworkRNN
from popgym_arcade.introspection import report, saliency
from popgym_arcade.introspection.episode import Recording, unit
from popgym_arcade.introspection.subject import subject

HERE = pathlib.Path(__file__).parent
STEPS = (25, 50, 100, 200)
CONFIG = {"ENV_NAME": "NavigatorEasy", "PARTIAL": False, "MEMORY_TYPE": "gru", "SEED": 0}
AGENTS: dict[str, dict[str, Any]] = {
    "small": {"obs_size": 64, "encoder": "patch", "memory_size": 128, "hidden_size": 128, "layers": 1},
    "paper": {},
}


def main() -> int:
    """Measure, print the tables, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--agent", choices=AGENTS, default="small", help="64 px and patches, or the paper's at 128 px")
    parser.add_argument("--steps", type=int, nargs="*", default=STEPS, help="lengths of episodes (default: 25 50 100 200)")
    parser.add_argument("--against", type=int, default=50, help="steps of the comparison with the plain way (default: 50)")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder for the figures")
    parser.add_argument("--way", choices=WAYS, help="measure this way alone, in this process, and print the figures")
    options = parser.parse_args()
    if options.way:
        print(json.dumps(measure(options.way, options.agent, options.against)))
        return 0

    with terminal.Progress() as progress:

        def run(way: str, steps: int) -> dict[str, Any]:
            progress(f"{steps} steps, {way}")
            command = [sys.executable, __file__, "--way", way, "--against", str(steps), "--agent", options.agent]
            return json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout.splitlines()[-1])

        idle = run("nothing", options.against)["peak_bytes"]
        growth = [{"steps": steps} | run("stream", steps) for steps in options.steps]
        compared = {way: run(way, options.against) for way in ("maps", "plain")}
        for found in [*growth, *compared.values()]:
            found["bytes"] = found.pop("peak_bytes") - idle
        opened = run("report", 50)
    rows = [
        [str(found["steps"]), *(f"{found[name]:.2f}" for name in ("seconds", "again")), f"{found['bytes'] / 2**20:.0f}"]
        for found in growth
    ]
    print(terminal.table(["steps", "s", "s, compiled", "MiB"], rows))
    rows = [[way, f"{found['seconds']:.2f}", f"{found['bytes'] / 2**20:.0f}"] for way, found in compared.items()]
    print(terminal.table([f"all maps of {options.against} steps", "s", "MiB"], rows))
    print(f"{compared['plain']['seconds'] / compared['maps']['seconds']:.1f} times as fast as the plain way")
    print(
        f"a report of 50 decisions: {opened['size'] / 1e6:.1f} MB, opens in {opened['open_seconds'] or float('nan'):.2f} s"
    )
    machine = speed.machine()
    content = {"machine": machine, "agent": options.agent, "growth": growth, "compared": compared}
    path = options.out / f"introspection-{options.agent}-{speed.file_name(machine)}.json"
    files.write_whole(path, (json.dumps(content | {"report": opened}, indent=1) + "\n").encode())
    print(f"wrote {path}")
    return 0


def measure(way: str, agent: str, steps: int) -> dict[str, Any]:
    """Measure one way in this process: `seconds`, `again` (of a second call), `peak_bytes` of the process."""
    model = QNetworkRNN(5, jax.random.key(0), CONFIG["MEMORY_TYPE"], **AGENTS[agent])
    if way == "report":
        return _report(model, steps)
    random = np.random.default_rng(0)
    frames = random.integers(0, 256, (steps, model.obs_size, model.obs_size, 3), np.uint8)
    action = random.integers(0, 5, steps, np.int32)
    rating = random.normal(size=(steps, 5)).astype(np.float32)
    start = np.arange(steps) == 0
    episode = Recording(frames, np.roll(action, 1), start, action, np.zeros(steps, np.float32), rating, False, None, True)
    seconds = []
    for _ in range(1 if way == "plain" else 2):
        start = time.perf_counter()
        WAYS[way](model, episode)
        seconds.append(time.perf_counter() - start)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
    return {"seconds": seconds[0], "again": seconds[-1], "peak_bytes": peak}


def plain(model: MemoryNetwork, episode: Recording) -> list[np.ndarray]:
    """All maps, the plain way: one gradient per decision and action, traced anew for each decision."""
    frames, maps = jnp.asarray(unit(episode.frames)), []
    for decision in range(len(episode)):
        last_action, start = (jnp.asarray(array[: decision + 1]) for array in (episode.last_action, episode.start))

        def output(
            frames: jax.Array, action: int, last_action: jax.Array = last_action, start: jax.Array = start
        ) -> jax.Array:
            return model(model.initial_state(), frames, last_action, start)[1][-1, action]

        gradient = jax.jit(jax.grad(output))
        maps.append(
            np.asarray(sum(jnp.abs(gradient(frames[: decision + 1], action)) for action in range(model.num_actions)))
        )
    return maps


def _report(model: MemoryNetwork, steps: int) -> dict[str, Any]:
    agent = subject(model, CONFIG)
    start = time.perf_counter()
    document = report.html(report.look(agent, agent.other_view(), steps))
    seconds = time.perf_counter() - start
    return {"seconds": seconds, "size": len(document.encode()), "open_seconds": _open_seconds(document)}


def _open_seconds(document: str) -> float | None:
    """From going to the file to the report being drawn, in a browser that runs already: the median of five."""
    if (path := shutil.which("chromium")) is None:
        return None
    from playwright.sync_api import sync_playwright

    durations = []
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        file = pathlib.Path(folder) / "report.html"
        file.write_text(document)
        options = ["--headless", "--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-sync"]
        browser = playwright.chromium.launch(executable_path=path, args=options)
        for _ in range(5):
            page = browser.new_page(viewport={"width": 1366, "height": 768})
            start = time.perf_counter()
            page.goto(file.as_uri())
            page.wait_for_selector("html[data-ready]")
            durations.append(time.perf_counter() - start)
            page.close()
        browser.close()
    return float(np.median(durations))


WAYS: dict[str, Callable[[MemoryNetwork, Recording], Any]] = {
    "nothing": lambda model, episode: None,
    "stream": lambda model, episode: saliency.recall(model, episode),
    "maps": lambda model, episode: saliency.maps(model, episode),
    "plain": plain,
    "report": lambda model, episode: None,
}


if __name__ == "__main__":
    sys.exit(main())
