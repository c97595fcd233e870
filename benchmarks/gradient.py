"""Compare the gradient steps of the paper's network with those of the same network in torch.

    python benchmarks/gradient.py

The Q-network without memory at 128 px: forward, backward, clipping and RAdam, on batches of 64 frames, bytes at first. Ours
are the steps that an update takes, eight of them in one compiled program; torch lays images out with channels last, which is
its fastest way on a CPU. Both use the same number of threads and cores: one, and all. Every measurement has a process of its
own, and they take turns; quoted are medians over the rounds. The figures are written to `benchmarks/results/` under the
device's name. Where other programs run on the same cores, compare the times of one thread by CPU time: threads of torch that
wait for each other keep their cores busy.

With `--before FOLDER` the sources of another version of this package, such as `OTHER/src`, are measured as well.
"""

import argparse
import itertools
import json
import os
import pathlib
import sys
import time
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import peer

from popgym_arcade import files, speed, terminal
from popgym_arcade.baselines import PQN
from popgym_arcade.baselines.algorithm import Shard
from popgym_arcade.baselines.minibatches import gradient_steps
from popgym_arcade.baselines.model.builder import QNetwork
from popgym_arcade.baselines.q_learning import q_of
from popgym_arcade.baselines.training.devices import Layout

HERE = pathlib.Path(__file__).parent
TORCH = ("torch==2.13.0", "numpy")
STEPS, BATCH, ACTIONS = 8, 64, 5
FIGURES = ("frames_per_second", "frames_per_cpu_second")


def main() -> int:
    """Measure, print the table, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rounds", type=int, default=5, help="processes of each package (default: 5)")
    parser.add_argument("--seconds", type=float, default=10.0, help="measuring time of each process (default: 10)")
    parser.add_argument("--threads", type=int, nargs="+", help="numbers of threads (default: 1, and one for each core)")
    parser.add_argument("--before", type=pathlib.Path, help="sources of another version of this package")
    folder = HERE.parent / ".venv-torch"
    parser.add_argument("--torch-venv", type=pathlib.Path, default=folder, help="where torch is, or is installed")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder for the figures")
    parser.add_argument("--measure", type=int, metavar="THREADS", help="measure this package here, and print figures")
    options = parser.parse_args()
    if options.measure:
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.measure])  # XLA has a thread for each core
        print(json.dumps(measure(options.seconds)))
        return 0

    seconds = ["--seconds", str(options.seconds)]
    own = [sys.executable, __file__, *seconds, "--measure"]
    sizes = ["--steps", str(STEPS), "--batch", str(BATCH), "--actions", str(ACTIONS)]
    torch = [*peer.python(options.torch_venv, TORCH), str(HERE / "peer_gradient.py"), *seconds, *sizes, "--threads"]
    commands = {"ours": own, "torch": torch}
    if options.before:
        commands["before"] = ["env", f"PYTHONPATH={options.before.absolute()}", *own]
    about = speed.machine()
    ways = [(package, threads) for threads in options.threads or sorted({1, about["cores"]}) for package in commands]
    runs: dict[tuple[str, int], list[peer.Run]] = {way: [] for way in ways}
    with terminal.Progress() as progress:
        for turn, (package, threads) in itertools.product(range(options.rounds), ways):
            progress(f"round {turn + 1}/{options.rounds}, {package}, {threads} threads")
            runs[package, threads].append(peer.run([*commands[package], str(threads)]))
    results = []
    for package, threads in ways:
        rates = {figure: peer.median(runs[package, threads], figure) for figure in FIGURES}
        ratios = {f"{figure}_over_torch": rates[figure] / peer.median(runs["torch", threads], figure) for figure in FIGURES}
        results.append({"package": package, "threads": threads, **rates, **ratios})
    print(", ".join(f"{name} {value}" for name, value in about.items()))
    rows = [
        [result["package"], str(result["threads"]), *(f"{result[figure]:.0f}" for figure in FIGURES)]
        + [f"{result[f'{figure}_over_torch']:.2f}" for figure in FIGURES]
        for result in results
    ]
    print(terminal.table(["gradient steps", "threads", "frames/s", "by CPU time", "over torch", "by CPU time"], rows))
    every = [{"package": package, "threads": threads, **run} for (package, threads), many in runs.items() for run in many]
    content = {"machine": about, "torch": TORCH[0], "batch": BATCH, "results": results, "runs": every}
    path = options.out / f"gradient-{speed.file_name(about)}.json"
    files.write_whole(path, (json.dumps(content, indent=1) + "\n").encode())
    print(f"wrote {path}")
    return 0


def measure(seconds: float) -> peer.Run:
    """Time gradient steps as training takes them, after compiling."""
    algorithm = PQN()
    params, structure = eqx.partition(QNetwork(ACTIONS, jax.random.key(0)), eqx.is_inexact_array)
    random = np.random.default_rng(0)
    obs = jnp.asarray(random.integers(0, 256, (STEPS, BATCH, 128, 128, 3), np.uint8))
    action = jnp.asarray(random.integers(0, ACTIONS, (STEPS, BATCH), np.int32))
    target = jnp.asarray(random.normal(size=(STEPS, BATCH)), jnp.float32)

    def loss_fn(params: Any, minibatch: Any) -> tuple[jax.Array, dict[str, jax.Array]]:
        obs, action, target = minibatch
        network = eqx.combine(params, structure)
        start = jnp.ones((BATCH, 1), bool)
        _, q_values = jax.vmap(network, in_axes=(None, 0, 0, 0))((), obs[:, None], action[:, None], start)
        return 0.5 * jnp.mean(jnp.square(q_of(q_values, action[:, None]) - target[:, None])), {}

    def step(learner: tuple[Any, Any], minibatches: Any) -> tuple[Any, Any]:
        params, opt_state, metrics = gradient_steps(loss_fn, algorithm.optimizer(), *learner, minibatches, Shard())
        return (params, opt_state), metrics

    learner = (params, algorithm.optimizer().init(params))
    compiled = Layout(1).update(step, tuple)
    durations = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds or len(durations) < 4:
        start, cpu_start = time.perf_counter(), time.process_time()
        learner, _ = jax.block_until_ready(compiled(learner, (obs, action, target)))
        durations.append((time.perf_counter() - start, time.process_time() - cpu_start))
        if len(durations) == 1:
            begin = time.perf_counter()  # it has compiled
    median, cpu_median = np.median(durations[1:], axis=0)
    frames = STEPS * BATCH
    return {"frames_per_second": frames / median, "frames_per_cpu_second": frames / cpu_median}


if __name__ == "__main__":
    sys.exit(main())
