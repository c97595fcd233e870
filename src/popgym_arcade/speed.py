"""Measuring the speed of games: every frame that is counted is written to memory, whole, and handed to another program.

This file can also be run by itself, as `python -P speed.py --env-id ...`, in an environment in which another package of
the name `popgym_arcade` is installed that follows the same calling convention: both are then measured by the same code.
"""

import argparse
import json
import os
import platform
import re
import statistics
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

try:
    import resource
except ModuleNotFoundError:  # Windows has none
    resource = None


def measure(
    env_id: str,
    partial_obs: bool,
    *,
    num_envs: int,
    obs_size: int,
    seconds: float,
    batches: int = 8,
    watch: Callable[[Any], None] | None = None,
) -> dict[str, Any]:
    """Step a batch of environments with random actions and auto-reset.

    Args:
        env_id: the name of the game.
        partial_obs: which view.
        num_envs: size of the batch.
        obs_size: size of the frames.
        seconds: how long to measure, after compiling.
        batches: step at least so many times.
        watch: called with the frames, uint8[num_envs, obs_size, obs_size, 3], after each step, outside of the timing.

    Returns:
        `env_id`, `partial_obs`, `num_envs`, `compile_seconds` (of `jit(vmap(step))`, tracing included),
        `frames_per_second` (median over the batches), `frame_bytes` (of one frame), `memory_ratio` (bytes of
        arguments, outputs and temporaries of the compiled step over those of its frames), and `paged_ratio` (bytes of the
        pages that the system handed to this process while it stepped, over those of the frames; 0 where it does not tell).
    """
    import popgym_arcade

    env, params = popgym_arcade.make(env_id, partial_obs=partial_obs, obs_size=obs_size)
    start_states = jax.jit(lambda keys: jax.vmap(env.reset, in_axes=(0, None))(keys, params)[1])
    state = start_states(jax.random.split(jax.random.PRNGKey(0), num_envs))
    draw = jax.jit(lambda key: (jax.random.split(key, num_envs), jax.random.randint(key, (num_envs,), 0, 5)))
    inputs = [jax.block_until_ready(draw(jax.random.PRNGKey(i))) for i in range(64)]

    start = time.perf_counter()
    step = jax.jit(jax.vmap(env.step, in_axes=(0, 0, 0, None))).lower(inputs[0][0], state, inputs[0][1], params).compile()
    compile_seconds = time.perf_counter() - start

    # The frames are an output of the program, so XLA writes them all. A second one reads some, outside of the timing.
    read = jax.jit(lambda frames: frames[:, ::8, ::8].astype(jnp.uint32).sum())
    durations: list[float] = []
    begin, paged = time.perf_counter(), _paged_bytes()
    while time.perf_counter() - begin < seconds or len(durations) < batches:
        keys, actions = inputs[len(durations) % len(inputs)]
        start = time.perf_counter()
        obs, state, *_ = jax.block_until_ready(step(keys, state, actions, params))
        durations.append(time.perf_counter() - start)
        read(obs).block_until_ready()
        if watch is not None:
            watch(obs)
    frame_bytes = obs_size * obs_size * 3
    paged = _paged_bytes() - paged
    return {
        "env_id": env_id,
        "partial_obs": partial_obs,
        "num_envs": num_envs,
        "compile_seconds": compile_seconds,
        "frames_per_second": num_envs / statistics.median(durations[1:]),
        "frame_bytes": frame_bytes,
        "memory_ratio": memory_ratio(step, num_envs, obs_size),
        "paged_ratio": paged / (frame_bytes * num_envs * len(durations)),
    }


def fill_rate(num_envs: int, obs_size: int, seconds: float) -> float:
    """Measure how many frames per second this device fills with one value through XLA: the limit for any drawing."""
    shape = (num_envs, obs_size, obs_size, 3)
    fill = jax.jit(lambda value: jnp.full(shape, value, jnp.uint8))
    values = [jax.device_put(np.uint8(i)) for i in range(8)]
    fill(values[0]).block_until_ready()
    durations: list[float] = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds or len(durations) < 5:
        start = time.perf_counter()
        fill(values[len(durations) % 8]).block_until_ready()
        durations.append(time.perf_counter() - start)
    return num_envs / statistics.median(durations[1:])


def machine() -> dict[str, Any]:
    """Describe what the figures were measured on."""
    device = jax.devices()[0]
    return {
        "device": device.device_kind,
        "backend": device.platform,
        "processor": _processor(),
        "cores": _cores(),
        "python": platform.python_version(),
        "jax": jax.__version__,
    }


def file_name(machine: dict[str, Any]) -> str:
    """Name a file after the device that `machine` describes, e.g. `cpu-amd-epyc`."""
    device = f"cpu {machine['processor']}" if machine["backend"] == "cpu" else machine["device"]
    return re.sub("[^a-z0-9]+", "-", device.lower()).strip("-")


def memory_ratio(step: Any, num_envs: int, obs_size: int) -> float:
    """Return the bytes of arguments, outputs and temporaries of a compiled step over those of its frames."""
    sizes = step.memory_analysis()
    if sizes is None:  # not every backend tells
        return float("nan")
    whole = sizes.argument_size_in_bytes + sizes.output_size_in_bytes + sizes.temp_size_in_bytes
    return whole / (num_envs * obs_size**2 * 3)


def _paged_bytes() -> int:
    """Return the bytes of the pages that the system has handed to this process so far."""
    if resource is None:
        return 0
    return resource.getrusage(resource.RUSAGE_SELF).ru_minflt * resource.getpagesize()


def _processor() -> str:
    try:
        with open("/proc/cpuinfo") as file:
            names = [line.partition(":")[2].strip() for line in file if line.startswith("model name")]
    except OSError:
        names = []
    return names[0] if names else platform.processor() or platform.machine()


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def main() -> None:
    """Measure one configuration given on the command line and print it as a line of JSON."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--env-id", required=True)
    parser.add_argument("--partial-obs", action="store_true")
    parser.add_argument("--num-envs", type=int, required=True)
    parser.add_argument("--obs-size", type=int, required=True)
    parser.add_argument("--seconds", type=float, required=True)
    args = parser.parse_args()
    sizes = {"num_envs": args.num_envs, "obs_size": args.obs_size}
    result = measure(args.env_id, args.partial_obs, **sizes, seconds=args.seconds)
    result["fill_rate"] = fill_rate(**sizes, seconds=min(args.seconds, 1.0))
    print(json.dumps(result | machine()))


if __name__ == "__main__":
    main()
