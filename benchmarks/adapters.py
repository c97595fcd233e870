"""Measure what the adapters of Gymnasium and Stable-Baselines3 cost.

Steps of their batches are compared with a plain `jit(vmap(step))` of the same game, those of a single environment with
`jit(step)`.

    python benchmarks/adapters.py [GAME ...]

Every way has a process of its own, as which memory is in the cache decides much; the processes take turns. Actions are the
same, random, and given as NumPy arrays; every step is waited for. Quoted are medians. The figures are written to
`benchmarks/results/` under the device's name. Stable-Baselines3 is left out where it is not installed.
"""

import argparse
import functools
import importlib.util
import json
import pathlib
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import popgym_arcade
from popgym_arcade import arguments, files, speed, terminal
from popgym_arcade.adapters.gymnasium import ArcadeEnv, ArcadeVectorEnv

HERE = pathlib.Path(__file__).parent
Step = Callable[[np.ndarray], Any]


def main() -> int:
    """Measure, print the table, and write the figures."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "env_ids", nargs="*", type=arguments.env_id, metavar="ENV_ID", help="names such as NavigatorEasy (default: three)"
    )
    parser.add_argument("--num-envs", type=int, default=256, help="environments in a batch (default: 256)")
    parser.add_argument("--obs-size", type=int, default=128, help="size of the frames (default: 128)")
    parser.add_argument("--rounds", type=int, default=3, help="processes of each way (default: 3)")
    parser.add_argument("--seconds", type=float, default=1.5, help="measuring time of a process (default: 1.5)")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder for the figures")
    parser.add_argument("--way", choices=WAYS, help="measure this way alone, in this process, and print the rate")
    options = parser.parse_args()
    env_ids = options.env_ids or ["CartPoleEasy", "BattleShipEasy", "NavigatorEasy"]
    if options.way:
        print(measure(env_ids[0], options.way, options.num_envs, options.obs_size, options.seconds))
        return 0

    results = []
    with terminal.Progress() as progress:
        for env_id in env_ids:
            rates: dict[str, list[float]] = {way: [] for way in WAYS}
            for turn in range(options.rounds):
                for way, measured in rates.items():
                    progress(f"{env_id}, round {turn + 1}/{options.rounds}, {way}")
                    command = [sys.executable, __file__, env_id, "--way", way, "--num-envs", str(options.num_envs)]
                    command += ["--obs-size", str(options.obs_size), "--seconds", str(options.seconds)]
                    measured.append(float(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
            medians = {way: statistics.median(measured) for way, measured in rates.items()}
            for ways in (SINGLE, BATCHES):
                base = medians[next(iter(ways))]
                for way in ways:
                    results.append(
                        {"env_id": env_id, "way": way, "frames_per_second": medians[way], "of_raw": medians[way] / base}
                    )
    machine = speed.machine()
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"{options.num_envs} environments, {options.obs_size} px, MDP")
    rows = [[one["env_id"], one["way"], f"{one['frames_per_second']:,.0f}", f"{one['of_raw']:.2f}"] for one in results]
    print(terminal.table(["environment", "way", "frames/s", "of raw"], rows))
    path = options.out / f"adapters-{speed.file_name(machine)}.json"
    content = {"machine": machine, "num_envs": options.num_envs, "obs_size": options.obs_size, "results": results}
    files.write_whole(path, (json.dumps(content, indent=1) + "\n").encode())
    print(f"wrote {path}")
    return 0


def measure(env_id: str, way: str, num_envs: int, obs_size: int, seconds: float) -> float:
    """Return the frames per second of one way."""
    num_envs = 1 if way in SINGLE else num_envs
    step = WAYS[way](env_id, num_envs, obs_size)
    actions = np.random.default_rng(0).integers(0, 5, (64, num_envs))
    durations: list[float] = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds or len(durations) < 20:
        start = time.perf_counter()
        step(actions[len(durations) % len(actions)])
        durations.append(time.perf_counter() - start)
    return num_envs / statistics.median(durations[1:])


def raw(env_id: str, num_envs: int, obs_size: int) -> Step:
    """Step a batch of the core's environments."""
    env, params = popgym_arcade.make(env_id, obs_size=obs_size)
    state = jax.jit(lambda keys: jax.vmap(env.reset)(keys)[1])(jax.random.split(jax.random.key(0), num_envs))
    keys = [jax.random.split(jax.random.key(number), num_envs) for number in range(8)]
    return stepping(jax.jit(jax.vmap(env.step, in_axes=(0, 0, 0, None))), keys, state, params)


def raw_single(env_id: str, num_envs: int, obs_size: int) -> Step:
    """Step one of the core's environments."""
    env, params = popgym_arcade.make(env_id, obs_size=obs_size)
    keys = list(jax.random.split(jax.random.key(0), 8))
    step = stepping(jax.jit(env.step), keys, env.reset(keys[0])[1], params)
    return lambda actions: step(actions[0])


def stepping(advance: Any, keys: list[jax.Array], state: Any, params: Any) -> Step:
    """Step by a compiled function, and wait for all that it returns."""
    count = 0

    def step(actions: np.ndarray) -> None:
        nonlocal state, count
        _, state, *_ = jax.block_until_ready(advance(keys[count % len(keys)], state, actions, params))
        count += 1

    return step


def batch(env_id: str, num_envs: int, obs_size: int, **options: Any) -> Step:
    """Step a batch of Gymnasium."""
    envs = ArcadeVectorEnv(env_id, num_envs, obs_size=obs_size, **options)
    envs.reset(seed=0)
    return lambda actions: jax.block_until_ready(envs.step(actions)[0])


def single(env_id: str, num_envs: int, obs_size: int) -> Step:
    """Step one environment of Gymnasium."""
    env = ArcadeEnv(env_id, obs_size=obs_size)
    env.reset(seed=0)

    def step(actions: np.ndarray) -> None:
        *_, terminated, truncated, _ = env.step(actions[0])
        if terminated or truncated:
            env.reset()

    return step


def vec_env(env_id: str, num_envs: int, obs_size: int) -> Step:
    """Step a batch of Stable-Baselines3."""
    from popgym_arcade.adapters.stable_baselines3 import ArcadeVecEnv

    envs = ArcadeVecEnv(env_id, num_envs, obs_size=obs_size)
    envs.reset()
    return envs.step


def dummy_vec_env(env_id: str, num_envs: int, obs_size: int) -> Step:
    """Step a batch that Stable-Baselines3 makes of single environments."""
    from stable_baselines3.common.vec_env import DummyVecEnv  # pyright: ignore[reportMissingImports]

    envs = DummyVecEnv([lambda: ArcadeEnv(env_id, obs_size=obs_size)] * num_envs)
    envs.reset()
    return envs.step


# The first of each is what the others are compared with.
SINGLE: dict[str, Callable[[str, int, int], Step]] = {"jit(step)": raw_single, "one environment": single}
BATCHES: dict[str, Callable[[str, int, int], Step]] = {
    "jit(vmap(step))": raw,
    "NextStep, NumPy": functools.partial(batch, autoreset_mode="NextStep", arrays="numpy"),
    "NextStep, jax": functools.partial(batch, autoreset_mode="NextStep", arrays="jax"),
    "SameStep, NumPy": functools.partial(batch, autoreset_mode="SameStep", arrays="numpy"),
    "SameStep, jax": functools.partial(batch, autoreset_mode="SameStep", arrays="jax"),
}
if importlib.util.find_spec("stable_baselines3"):
    BATCHES |= {"VecEnv": vec_env, "DummyVecEnv": dummy_vec_env}
WAYS = SINGLE | BATCHES


if __name__ == "__main__":
    sys.exit(main())
