"""Measure one trainer of popgym-arcade 0.0.7, in an environment in which that is installed, and print a line of JSON.

Its trainers are one compiled program from the first weights to the last update, so updates are timed by a difference: a run
of some updates less one of none, both compiled beforehand, as its own command compiles them. Collection is a difference,
too, of runs without learning: as many updates of no epochs less no updates; where no epochs are impossible (PQN with a
memory), a window of as many steps that is played before the first update, less no window.
"""

import argparse
import importlib
import json
import resource
import sys
import time
from typing import Any

import equinox as eqx
import jax


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--trainer", choices=["PQN", "PQN_RNN", "PPO", "PPO_RNN"], required=True)
    parser.add_argument("--memory")
    parser.add_argument("--env-id", required=True)
    for name in ("obs-size", "num-envs", "num-steps", "epochs", "minibatches", "updates"):
        parser.add_argument(f"--{name}", type=int, required=True)
    options = parser.parse_args()

    steps = options.num_envs * options.num_steps * options.updates
    seconds, cpu_seconds, compile_seconds, outputs = run(options, options.updates, options.epochs)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
    trained = outputs["runner_state"][0]
    network = eqx.filter(getattr(trained, "model", trained), eqx.is_inexact_array)
    idle, cpu_idle, _, _ = run(options, 0, options.epochs)
    if options.trainer == "PQN_RNN":
        collecting, _, _, _ = run(options, 0, options.epochs, window=options.num_steps * options.updates)
    else:
        collecting, _, _, _ = run(options, options.updates, 0)
    result = {
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(network)),
        "compile_seconds": compile_seconds,
        "steps_per_second": steps / (seconds - idle),
        "steps_per_cpu_second": steps / (cpu_seconds - cpu_idle),
        "collection_share": (collecting - idle) / (seconds - idle),
        "memory_bytes": memory,
    }
    print(json.dumps(result))


def run(options: argparse.Namespace, updates: int, epochs: int, window: int = 0) -> tuple[float, float, float, Any]:
    """Train: (seconds, seconds of all cores, seconds of compiling, what comes of it)."""
    train: Any = eqx.filter_jit(eqx.filter_vmap(make_train(options, updates, epochs, window)))
    keys = jax.random.split(jax.random.PRNGKey(0), 1)
    start = time.perf_counter()
    compiled = train.lower(keys).compile()
    compile_seconds = time.perf_counter() - start
    start, cpu_start = time.perf_counter(), time.process_time()
    outputs = jax.block_until_ready(compiled(keys))
    return time.perf_counter() - start, time.process_time() - cpu_start, compile_seconds, outputs


def make_train(options: argparse.Namespace, updates: int, epochs: int, window: int) -> Any:
    """Make the program of a trainer with its own settings, but for those given, and without logs."""
    kind = options.trainer
    is_pqn = kind.startswith("PQN")
    settings = {
        "ENV_NAME": options.env_id,
        "OBS_SIZE": options.obs_size,
        "NUM_ENVS": options.num_envs,
        "NUM_STEPS": options.num_steps,
        "NUM_EPOCHS" if is_pqn else "UPDATE_EPOCHS": epochs,
        "NUM_MINIBATCHES": options.minibatches,
        "TOTAL_TIMESTEPS": options.num_envs * options.num_steps * updates,
        "WANDB_MODE": "disabled",
    }
    if is_pqn:
        settings["MEMORY_WINDOW"] = window  # with none it learns from the steps of this update, and from no more
    if options.memory:
        settings["MEMORY_TYPE"] = options.memory
    sys.argv = [
        "train",
        kind,
        "--PARTIAL",
        *(part for name, value in settings.items() for part in (f"--{name}", str(value))),
    ]
    config = vars(importlib.import_module("popgym_arcade.train").get_args())
    config["DEBUG"] = False
    return importlib.import_module(f"popgym_arcade.baselines.{kind.lower()}").make_train(config)


if __name__ == "__main__":
    main()
