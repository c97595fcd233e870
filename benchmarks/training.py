"""Compare the speed of training with that of the trainers of popgym-arcade 0.0.7, at the same network, batch and game.

    python benchmarks/training.py

Environment steps per second, after compiling. Every measurement has a process of its own; the packages take turns: ours,
theirs, ours, theirs, ... Quoted are medians over the rounds. The network is that of the paper at 128 px. The peer's actor
and critic of PPO share nothing: our PPO is measured with two whole networks, too, and beside it with the one that it has.
Both learn from the same number of frames: the peer's PQN is given no window of earlier steps. With a memory it runs only
where a minibatch has one environment, or as many as an epoch has minibatches: hence the 4 environments.

With `--no-peer` several processes can compile at once (`--workers`), which take turns when they time, and `--seeds` trains
that many agents side by side in one program, as `popgym-arcade train --num-seeds` does on an accelerator; the steps of all
count.

Our update is one compiled program, which is timed as it is. Collection is timed as a program of its own; what an update
takes longer is learning. The peer's whole run is one program: how it is timed is told in `peer_training.py`. The figures are
written to `benchmarks/results/` under the device's name, after each way.

Where other programs run on the same cores, the rates fall, and unevenly. `CPU ratio` compares steps per second of work of
the cores, which depends less on that; it does not tell how well either keeps all cores busy.
"""

import argparse
import concurrent.futures
import contextlib
import fcntl
import json
import os
import pathlib
import resource
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import equinox as eqx
import jax
import jax.numpy as jnp
import peer

from popgym_arcade import arguments, files, speed, terminal
from popgym_arcade.baselines.algorithm import Task
from popgym_arcade.baselines.collect import collect
from popgym_arcade.baselines.evaluation import greedy
from popgym_arcade.baselines.model.memory import count_parameters
from popgym_arcade.baselines.training import config as configs
from popgym_arcade.baselines.training.config import SMALL, Config
from popgym_arcade.baselines.training.trainer import over_seeds

HERE = pathlib.Path(__file__).parent


class Way(NamedTuple):
    """What is measured."""

    algorithm: str
    memory: str
    trainer: str = ""
    """Of the peer; none, if there is nothing to compare with."""
    two_networks: bool = False
    """Whether actor and critic share nothing."""
    preset: str = ""


WAYS = {
    "PQN": Way("pqn", SMALL, "PQN"),
    "PQN, LRU": Way("pqn", "LRU", "PQN_RNN"),
    "PQN, GRU": Way("pqn", "GRU", "PQN_RNN"),
    "PPO, two networks": Way("ppo", SMALL, "PPO", two_networks=True),
    "PPO, LRU, two networks": Way("ppo", "LRU", "PPO_RNN", two_networks=True),
    "PPO": Way("ppo", SMALL),
    "PPO, LRU": Way("ppo", "LRU"),
    "PPO, GRU": Way("ppo", "GRU"),
    "PQN, preset cpu": Way("pqn", "none", preset="cpu"),
    "PPO, preset cpu": Way("ppo", "none", preset="cpu"),
    "PPO, LRU, preset cpu": Way("ppo", "LRU", preset="cpu"),
    "PPO, GRU, preset cpu": Way("ppo", "GRU", preset="cpu"),
}
Runs = dict[tuple[str, str], list[peer.Run]]


class TwoNetworks(eqx.Module):
    """An actor-critic whose actor and critic share nothing."""

    actor: Any
    critic: Any

    def initial_state(self) -> Any:
        """Return both states before any frame."""
        return self.actor.initial_state(), self.critic.initial_state()

    def __call__(self, state: Any, obs: jax.Array, last_action: jax.Array, start: jax.Array) -> tuple[Any, Any]:
        """Take the policy of one and the value of the other."""
        actor_state, (logits, _) = self.actor(state[0], obs, last_action, start)
        critic_state, (_, value) = self.critic(state[1], obs, last_action, start)
        return (actor_state, critic_state), (logits, value)


def main() -> int:
    """Measure, print the table, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "--env-id", default="CartPoleEasy", help="the environment, in its POMDP view (default: CartPoleEasy)"
    )
    parser.add_argument("--obs-size", type=int, default=128, help="size of the frames (default: 128)")
    parser.add_argument("--num-envs", type=int, default=4, help="environments (default: 4)")
    parser.add_argument("--num-steps", type=int, default=32, help="steps of each in an update (default: 32)")
    parser.add_argument("--epochs", type=int, default=4, help="epochs of an update (default: 4)")
    parser.add_argument("--minibatches", type=int, default=2, help="minibatches of an epoch (default: 2)")
    parser.add_argument(
        "--rounds", type=arguments.integer(1), default=3, help="processes of each package and way (default: 3)"
    )
    parser.add_argument("--seconds", type=float, default=10.0, help="measuring time of our processes (default: 10)")
    parser.add_argument("--updates", type=int, default=2, help="updates of a run of the peer, at least 2 (default: 2)")
    parser.add_argument("--no-peer", action="store_true", help="measure this package alone")
    parser.add_argument("--seeds", type=arguments.integer(1), default=1, help="agents of ours in one program (default: 1)")
    parser.add_argument(
        "--workers", type=arguments.integer(1), default=1, help="processes that compile at once (default: 1)"
    )
    parser.add_argument("--peer-venv", type=pathlib.Path, default=peer.FOLDER, help="where the peer is installed")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder for the figures")
    parser.add_argument("--way", choices=WAYS, help="measure this package in this way, in this process, and print figures")
    parser.add_argument("--turn", type=pathlib.Path, help="with --way: a file that is locked while this process times")
    options = parser.parse_args()
    if options.updates < 2:
        parser.error("--updates must be at least 2: XLA turns a loop of one turn into something else")
    if options.way:
        print(json.dumps(measure(WAYS[options.way], options)))
        return 0

    if not options.no_peer and (options.workers, options.seeds) != (1, 1):
        parser.error("--workers and --seeds need --no-peer: the peer takes no turns, and trains one agent")

    python = None if options.no_peer else peer.python(options.peer_venv, peer.TRAINER)
    sizes = []
    for name in ("env_id", "obs_size", "num_envs", "num_steps", "epochs", "minibatches"):
        sizes += [f"--{name.replace('_', '-')}", str(getattr(options, name))]
    runs: Runs = {}
    path = options.out
    with tempfile.NamedTemporaryFile() as turn, terminal.Progress() as progress:
        ours = ["--seconds", str(options.seconds), "--seeds", str(options.seeds), "--turn", turn.name]
        theirs = ["--updates", str(options.updates)]
        commands: dict[tuple[str, str], list[str]] = {}
        for name, way in WAYS.items():
            if python is None and way.two_networks:
                continue  # as the peer has them
            commands["ours", name] = [sys.executable, __file__, "--way", name, *sizes, *ours]
            if python is not None and way.trainer:
                memory = ["--memory", way.memory] if way.memory != SMALL else []
                trainer = [*python, str(HERE / "peer_training.py"), "--trainer", way.trainer]
                commands["peer", name] = [*trainer, *sizes, *theirs, *memory]
        if options.workers > 1:  # no process takes the device's memory for itself
            os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
        for number in range(options.rounds):
            with concurrent.futures.ThreadPoolExecutor(options.workers) as pool:
                running = {pool.submit(peer.run, command): key for key, command in commands.items()}
                for done in concurrent.futures.as_completed(running):
                    key = running[done]
                    runs.setdefault(key, []).append(done.result())
                    progress(f"round {number + 1}/{options.rounds}: {key[1]}, {key[0]}")
                    path = write(runs, options)
    print_table(runs, options)
    print(f"wrote {path}")
    return 0


def measure(way: Way, options: argparse.Namespace) -> peer.Run:
    """Time updates, and collection alone."""
    config = make_config(way, options)
    algorithm = config.algorithm
    env, params = config.make_env()
    networks: list[Any] = [config.make_network(2 * seed) for seed in range(options.seeds)]
    if way.two_networks:
        networks = [TwoNetworks(network, config.make_network(2 * seed + 1)) for seed, network in enumerate(networks)]
    weights, structure = eqx.partition(networks, eqx.is_inexact_array)
    structure = structure[0]

    def task(key: jax.Array) -> Task:
        return Task(env, params, structure, key)

    def play(learner: Any, key: jax.Array) -> tuple[Any, Any]:
        keys = task(key).env_keys(learner.updates, algorithm.num_envs)
        value: Any = (lambda output: output[1]) if way.algorithm == "ppo" else jnp.max
        actors, rollout = collect(
            task(key).network(learner.params),
            task(key),
            greedy,
            value,
            learner.actors,
            keys,
            algorithm.num_steps,
            bootstrap_truncated=algorithm.bootstrap_truncated,
        )
        return learner._replace(actors=actors, updates=learner.updates + 1), rollout

    def compiled(function: Callable[..., Any]) -> Callable[[Any], Any]:
        program = jax.jit(over_seeds(function, options.seeds), donate_argnums=0).lower(learner, keys).compile()
        return lambda learner: program(learner, keys)

    keys = jax.random.split(jax.random.key(0), options.seeds)
    stacked = jax.tree.map(lambda *leaves: jnp.stack(leaves), *weights)
    init = over_seeds(lambda params, key: algorithm.init(params, task(key)), options.seeds)
    learner = jax.jit(init)(stacked, keys)
    start = time.perf_counter()
    update = compiled(lambda learner, key: algorithm.update(learner, task(key)))
    compile_seconds = time.perf_counter() - start
    collection = compiled(play)
    with taking_turns(options.turn):
        seconds, cpu_seconds, learner = repeat(update, learner, options.seconds)
        memory = memory_peak()
        collecting, _, _ = repeat(collection, learner, options.seconds / 4)
    steps = algorithm.steps_per_update * options.seeds
    return {
        "parameters": count_parameters(eqx.filter(networks[0], eqx.is_inexact_array)),
        "steps_per_update": steps,
        "compile_seconds": compile_seconds,
        "steps_per_second": steps / seconds,
        "steps_per_cpu_second": steps / cpu_seconds,
        "collection_share": collecting / seconds,
        "collected_per_second": steps / collecting,
        "learned_per_second": steps * algorithm.epochs / (seconds - collecting),
        "memory_bytes": memory,
    }


@contextlib.contextmanager
def taking_turns(path: pathlib.Path | None) -> Iterator[None]:
    """Wait until no other process times."""
    if path is None:
        yield
        return
    with path.open() as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


def memory_peak() -> int:
    """Return the bytes in use at most so far: of the device's memory, on a CPU of this process."""
    stats = jax.local_devices()[0].memory_stats()
    return stats["peak_bytes_in_use"] if stats else resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def make_config(way: Way, options: argparse.Namespace) -> Config[Any]:
    """Return what is trained: a preset as it is, or the network of the paper with the sizes given."""
    settings: dict[str, Any] = {"algorithm": way.algorithm, "memory": way.memory, "env_id": options.env_id, "view": "pomdp"}
    if way.preset:
        return configs.from_dict(settings | configs.preset(way.preset, way.algorithm, options.env_id, way.memory))
    for name in ("obs_size", "num_envs", "num_steps", "epochs", "minibatches"):
        settings[name] = getattr(options, name)
    return configs.from_dict(settings | {"burn_in": 0})


def repeat(function: Callable[[Any], tuple[Any, Any]], learner: Any, seconds: float) -> tuple[float, float, Any]:
    """Call a compiled function again and again: (median of the seconds of a call, of all cores', the last learner)."""
    durations: list[tuple[float, float]] = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds or len(durations) < 4:
        start, cpu_start = time.perf_counter(), time.process_time()
        learner, _ = jax.block_until_ready(function(learner))
        durations.append((time.perf_counter() - start, time.process_time() - cpu_start))
    median, cpu_median = map(statistics.median, zip(*durations[1:], strict=True))
    return median, cpu_median, learner


def results(runs: Runs) -> list[dict[str, Any]]:
    """Return the medians of all ways, and our rate over the peer's."""
    told = []
    for name in (name for name in WAYS if ("ours", name) in runs):
        medians: dict[str, Any] = {
            package: {figure: peer.median(runs[package, name], figure) for figure in runs[package, name][0]}
            for package in ("ours", "peer")
            if (package, name) in runs
        }
        if "peer" in medians:
            for ratio, figure in (("ratio", "steps_per_second"), ("cpu_ratio", "steps_per_cpu_second")):
                medians[ratio] = medians["ours"][figure] / medians["peer"][figure]
        told.append({"way": name, **medians})
    return told


def print_table(runs: Runs, options: argparse.Namespace) -> None:
    """Print a line for each way, and what the columns are."""
    header = ["training", "steps/s", "collection", "collects/s", "learns/s", "compile s", "GB", "parameters"]
    if not options.no_peer:
        header += ["ratio", "CPU ratio", "peer's steps/s", "collection", "compile s", "GB", "parameters"]
    rows = []
    for result in results(runs):
        ours = result["ours"]
        row = [result["way"], f"{ours['steps_per_second']:.1f}", f"{ours['collection_share']:.0%}"]
        row += [f"{ours['collected_per_second']:,.0f}", f"{ours['learned_per_second']:,.0f}", *costs(ours)]
        if theirs := result.get("peer"):
            row += [
                f"{result['ratio']:.1f}",
                f"{result['cpu_ratio']:.1f}",
                f"{theirs['steps_per_second']:.1f}",
                f"{theirs['collection_share']:.0%}",
            ]
            row += costs(theirs)
        rows.append(row + [""] * (len(header) - len(row)))
    print(", ".join(f"{name} {value}" for name, value in speed.machine().items()))
    print(
        f"{options.env_id} POMDP, {options.obs_size} px; {options.num_envs} environments x {options.num_steps} steps, "
        f"{options.epochs} epochs x {options.minibatches} minibatches; the preset has its own sizes; seeds: {options.seeds}"
    )
    print("collection: its share of an update; collects/s: frames played; learns/s: frames forward and backward; GB: peak")
    print(terminal.table(header, rows))


def costs(run: peer.Run) -> list[str]:
    """Spell what a run needs."""
    return [f"{run['compile_seconds']:.0f}", f"{run['memory_bytes'] / 1e9:.1f}", f"{run['parameters']:,.0f}"]


def write(runs: Runs, options: argparse.Namespace) -> pathlib.Path:
    """Write all figures measured so far, and return the file."""
    about = speed.machine()
    path = options.out / f"training-{speed.file_name(about)}.json"
    names = ("env_id", "obs_size", "num_envs", "num_steps", "epochs", "minibatches", "seeds")
    content = {
        "machine": about,
        **{name: getattr(options, name) for name in names},
        "results": results(runs),
        "runs": [{"package": package, "way": name, **run} for (package, name), many in runs.items() for run in many],
    }
    files.write_whole(path, (json.dumps(content, indent=1) + "\n").encode())
    return path


if __name__ == "__main__":
    sys.exit(main())
