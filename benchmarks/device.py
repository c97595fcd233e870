"""Measure frames per second for 2^1 to 2^15 environments, beside filling the same memory and the paper's protocol.

Four rates for each number of environments:

- *step*: `jit(vmap(step))`, random actions, automatic reset, every frame written to memory and handed on.
- *rollout*: 32 steps in one program, as trainers play them, which hands on the frames of all; up to 4 GiB of them.
- *fill*: an array of the frames of a step filled with one value, the limit for any drawing.
- *last of 32*: 32 steps in one program that hands on its last frames alone, as the paper (arXiv 2503.01450) measured: the
  other 31 are not kept, and a compiler need not write them. It is no measure of frames that one can learn from.

Calls are queued, as programs of JAX do it, and waited for when 32 of them, or 1 GiB of frames, are under way; a rate is the
median of such groups.

    python benchmarks/device.py [ENV_ID ...]

measures the ten Easy games in both views, and writes figures and curves to `benchmarks/results/device-NAME.json` and
`.png` as it goes, so that nothing is lost if the time on a device ends; what the file has already is not measured
again. What does not fit into memory is left out and named. Most of the time is compiling: with `--workers` several
processes compile, which take turns on the device.
"""

import argparse
import concurrent.futures
import contextlib
import functools
import json
import multiprocessing
import os
import pathlib
import signal
import statistics
import sys
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp

import popgym_arcade
from popgym_arcade import arguments, figures, files, registered_envs, room, speed, terminal
from popgym_arcade.environment import VIEWS, view_name

HERE = pathlib.Path(__file__).parent
STEPS = 32
_MOST_QUEUED = 1 << 30
_MOST_ROLLED_OUT = 1 << 32
_WRITE_SECONDS = 20

Point = tuple[str, bool, int]
"""Name, view and number of environments."""


def main() -> int:
    """Measure, print, write figures and curves."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "env_ids",
        nargs="*",
        type=arguments.env_id,
        metavar="ENV_ID",
        help="names such as NavigatorEasy (default: all Easy games)",
    )
    parser.add_argument("--view", choices=VIEWS, help="one view (default: both)")
    parser.add_argument(
        "--powers", type=int, nargs=2, default=(1, 15), metavar=("FIRST", "LAST"), help="of 2 (default: 1 15)"
    )
    parser.add_argument("--obs-size", type=arguments.integer(64, 512), default=128, help="size of the frames (default: 128)")
    parser.add_argument(
        "--seconds", type=arguments.real(0.001, 3600), default=0.3, help="measuring time of each rate (default: 0.3)"
    )
    parser.add_argument("--workers", type=arguments.integer(1), default=1, help="processes that compile (default: 1)")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder for the figures")
    options = parser.parse_args()
    if not 0 <= options.powers[0] <= options.powers[1] <= 24:
        parser.error(f"--powers must be from 0 to 24, the smaller one first, got {options.powers}")
    # Before JAX starts: no process takes the device's memory for itself.
    os.environ["XLA_PYTHON_CLIENT_PREALLOCATE"] = "false"
    sizes = [1 << power for power in range(options.powers[0], options.powers[1] + 1)]
    sizes = sizes[::2] + sizes[1::2]  # whole curves early on
    env_ids = options.env_ids or [name for name in registered_envs if name.endswith("Easy")]
    views = [view == "pomdp" for view in ([options.view] if options.view else VIEWS)]
    points = [(env_id, partial_obs, size) for size in sizes for env_id in env_ids for partial_obs in views]

    machine = speed.machine()
    path = options.out / f"device-{speed.file_name(machine)}.json"
    try:
        files.check_folder(path)
    except OSError as error:
        parser.error(f"argument --out: {error}")
    asked = {"machine": machine, "obs_size": options.obs_size, "seconds": options.seconds}
    found = read(path, asked)

    def write() -> None:
        results = [found[point] for point in sorted(found)]
        files.write_whole(path, (json.dumps({**asked, "results": results}, indent=1) + "\n").encode())
        draw(results, machine, path.with_suffix(".png"))

    new = [point for point in points if point not in found]
    spawn = multiprocessing.get_context("spawn")
    pool = concurrent.futures.ProcessPoolExecutor(options.workers, spawn, _take_turns, (spawn.Lock(),))
    running = {pool.submit(measure, *point, obs_size=options.obs_size, seconds=options.seconds): point for point in new}
    written = time.monotonic()
    try:
        with terminal.Progress() as progress:
            progress(f"compiling the first of {len(new)} points")
            for number, done in enumerate(concurrent.futures.as_completed(running)):
                found[running[done]] = done.result()
                progress(f"{number + 1} of {len(new)} points")
                if time.monotonic() - written > _WRITE_SECONDS:
                    write()
                    written = time.monotonic()
    except KeyboardInterrupt:
        print(f"stopped after {len(found)} of {len(points)} points; the same command goes on", file=sys.stderr)
        return 130
    finally:
        write()
        pool.shutdown(wait=False, cancel_futures=True)
        for worker in multiprocessing.active_children():
            worker.terminate()
    print(table([found[point] for point in sorted(found)]))
    print(f"wrote {path} and {path.with_suffix('.png')}")
    return 0


def read(path: pathlib.Path, asked: dict[str, Any]) -> dict[Point, dict[str, Any]]:
    """Return what has been measured already, by what it is of; nothing if that was asked for in another way."""
    if not path.is_file():
        return {}
    content = files.read_json(path)
    if any(content[name] != value for name, value in asked.items()):
        raise SystemExit(f"{path} holds figures of other settings: choose another --out, or delete it")
    return {(each["env_id"], each["partial_obs"], each["num_envs"]): each for each in content["results"]}


def _take_turns(lock: Any) -> None:
    """Let this process and others time one after the other; it is ended by the one that began it, not by Ctrl-C."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    global _turn
    _turn = lock


_turn: Any = contextlib.nullcontext()


def measure(env_id: str, partial_obs: bool, num_envs: int, *, obs_size: int, seconds: float) -> dict[str, Any]:
    """Measure all rates, in frames per second; `left_out` says why there are none."""
    about = {"env_id": env_id, "partial_obs": partial_obs, "num_envs": num_envs}
    try:
        room.check_frames(num_envs, obs_size)
        programs = _Programs(env_id, partial_obs, num_envs, obs_size)
        with _turn:
            rates = programs.rates(seconds)
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return about | {"left_out": str(error).partition("\n")[0]}
    return about | rates | {"memory_ratio": speed.memory_ratio(programs.step, num_envs, obs_size)}


class _Programs:
    """The compiled programs of a game whose calls are timed."""

    def __init__(self, env_id: str, partial_obs: bool, num_envs: int, obs_size: int) -> None:
        env, params = popgym_arcade.make(env_id, partial_obs=partial_obs, obs_size=obs_size)
        self.num_envs = num_envs
        self.frame_bytes = num_envs * obs_size**2 * 3
        step = jax.vmap(env.step, in_axes=(0, 0, 0, None))

        def inputs(key: jax.Array) -> tuple[jax.Array, jax.Array]:
            key_step, key_action = jax.random.split(key)
            return jax.random.split(key_step, num_envs), jax.random.randint(key_action, (num_envs,), 0, env.num_actions)

        def take(state: Any, key: jax.Array) -> tuple[Any, Any]:
            keys, actions = inputs(key)
            obs, state, *rest = step(keys, state, actions, params)
            return state, (obs, *rest)

        def rollout(state: Any, key: jax.Array) -> tuple[Any, Any]:
            return jax.lax.scan(take, state, jax.random.split(key, STEPS))

        def last(state: Any, key: jax.Array) -> tuple[Any, Any]:
            def body(carry: tuple[Any, Any], key: jax.Array) -> tuple[tuple[Any, Any], None]:
                state, (obs, *_) = take(carry[0], key)
                return (state, obs), None

            blank = jnp.zeros((num_envs, obs_size, obs_size, 3), jnp.uint8)
            return jax.lax.scan(body, (state, blank), jax.random.split(key, STEPS))[0]

        key = jax.random.key(0)
        self.keys = list(jax.random.split(key, 64))
        self.inputs = [jax.jit(inputs)(key) for key in self.keys]
        start = jax.jit(lambda keys: jax.vmap(env.reset, in_axes=(0, None))(keys, params)[1])
        self.state = jax.block_until_ready(start(self.inputs[0][0]))
        self.step = (
            jax.jit(lambda state, keys, actions: step(keys, state, actions, params))
            .lower(self.state, *self.inputs[0])
            .compile()
        )
        self.many = {f"last_of_{STEPS}": jax.jit(last).lower(self.state, key).compile()}
        if STEPS * self.frame_bytes <= _MOST_ROLLED_OUT:
            self.many["rollout"] = jax.jit(rollout).lower(self.state, key).compile()
        self.fill = jax.jit(lambda value: jnp.full((num_envs, obs_size, obs_size, 3), value, jnp.uint8))
        self.values = [jnp.uint8(value) for value in range(8)]
        jax.block_until_ready(self.fill(self.values[0]))

    def rates(self, seconds: float) -> dict[str, float]:
        """Time the calls: frames per second, by the names of the rates."""

        def step(number: int) -> Any:
            obs, self.state, *rest = self.step(self.state, *self.inputs[number % len(self.inputs)])
            return obs, rest

        def fill(number: int) -> jax.Array:
            return self.fill(self.values[number % len(self.values)])

        def many(program: Callable[..., Any], number: int) -> Any:
            self.state, frames = program(self.state, self.keys[number % len(self.keys)])
            return frames

        calls = {"step": (step, 1), "fill": (fill, 1)}
        calls |= {name: (functools.partial(many, program), STEPS) for name, program in self.many.items()}
        return {name: self._rate(call, steps, seconds) for name, (call, steps) in calls.items()}

    def _rate(self, call: Callable[[int], Any], steps: int, seconds: float) -> float:
        queued = min(max(_MOST_QUEUED // (steps * self.frame_bytes), 1), 32)
        durations: list[float] = []
        begin = time.perf_counter()
        while time.perf_counter() - begin < seconds or len(durations) < 4:
            start = time.perf_counter()
            kept: Any = None  # what is made earlier is let go
            for number in range(queued):
                kept = call(number)
            jax.block_until_ready(kept)
            durations.append(time.perf_counter() - start)
        return queued * steps * self.num_envs / statistics.median(durations[1:])


def table(results: list[dict[str, Any]]) -> str:
    """Lay out, for each game and view, the batch that steps fastest."""
    groups: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for each in results:
        if "step" in each:
            groups.setdefault((each["env_id"], each["partial_obs"]), []).append(each)
    rows = []
    for (env_id, partial_obs), group in groups.items():
        best = max(group, key=lambda each: each["step"])
        rollout = max(each.get("rollout", 0) for each in group)
        rates = [f"{rate:,.0f}" for rate in (best["step"], best["fill"], rollout, best[f"last_of_{STEPS}"])]
        rows.append([env_id, view_name(partial_obs), f"{best['num_envs']:,}", *rates, f"{best['step'] / best['fill']:.0%}"])
    header = ["environment", "view", "environments", "frames/s", "fill, frames/s", "best rollout, frames/s"]
    header += [f"last of {STEPS}, steps/s", "of fill"]
    left_out = [
        f"left out: {each['env_id']}, {each['num_envs']}: {each['left_out']}" for each in results if "left_out" in each
    ]
    return "\n".join([terminal.table(header, rows), *left_out])


def draw(results: list[dict[str, Any]], machine: dict[str, Any], path: pathlib.Path) -> None:
    """Draw frames per second by the number of environments: a panel for each view, a line for each game."""
    known = [each for each in results if "step" in each]
    if known:
        with figures.style():
            figures.save(_figure(known, machine), path)


def _figure(results: list[dict[str, Any]], machine: dict[str, Any]) -> figures.Figure:
    figure = figures.Figure(figsize=(11, 4.6), layout="constrained")
    views = sorted({each["partial_obs"] for each in results})
    for axis, partial_obs in zip(figure.subplots(1, len(views), sharey=True, squeeze=False)[0], views, strict=True):
        known = [each for each in results if each["partial_obs"] == partial_obs]
        for number, env_id in enumerate(dict.fromkeys(each["env_id"] for each in known)):
            mine = sorted((each for each in known if each["env_id"] == env_id), key=lambda each: each["num_envs"])
            envs, (colour, marker) = [each["num_envs"] for each in mine], figures.look(number)
            axis.plot(envs, [each["step"] for each in mine], color=colour, marker=marker, markersize=4, label=env_id)
            axis.plot(envs, [each[f"last_of_{STEPS}"] for each in mine], color=colour, linewidth=0.7, linestyle=":")
        envs = sorted({each["num_envs"] for each in known})
        fill = [statistics.median(each["fill"] for each in known if each["num_envs"] == count) for count in envs]
        axis.plot(envs, fill, color="#444444", linewidth=2, linestyle="--", label="filling the memory")
        axis.set(yscale="log", xlabel="environments", title=view_name(partial_obs))
        axis.set_xscale("log", base=2)
        axis.grid(alpha=0.3)
    figure.axes[0].set_ylabel("frames per second")
    figure.axes[-1].legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    name = machine["processor"] if machine["backend"] == "cpu" else machine["device"]
    figure.suptitle(f"{name}, every frame in memory; dotted: steps of which the last of {STEPS} frames is kept")
    return figure


if __name__ == "__main__":
    sys.exit(main())
