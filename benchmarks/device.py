"""Measure frames per second for 2^1 to 2^15 environments, beside filling the same memory and the paper's protocol.

Three rates for each number of environments, medians over batches:

- *step*: `jit(vmap(step))`, random actions, automatic reset, every frame written to memory and handed on.
- *fill*: an array of the frames' shape filled with one value, the limit for any drawing.
- *last of 32*: 32 steps in one program that hands on its last frames alone, as the paper (arXiv 2503.01450) measured: the
  other 31 are not kept, and a compiler need not write them. It is no measure of frames that one can learn from.

    python benchmarks/device.py [ENV_ID ...]

measures the ten Easy games in both views, and writes figures and curves to `benchmarks/results/device-NAME.json` and
`.png` after each view, so that nothing is lost if the time on a device ends; what the file has already is not measured
again. What does not fit into memory is left out and named.
"""

import argparse
import json
import pathlib
import statistics
import sys
import time
from typing import Any

import jax

import popgym_arcade
from popgym_arcade import arguments, figures, files, registered_envs, room, speed, terminal
from popgym_arcade.environment import view_name

HERE = pathlib.Path(__file__).parent
STEPS = 32


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
    parser.add_argument(
        "--powers", type=int, nargs=2, default=(1, 15), metavar=("FIRST", "LAST"), help="of 2 (default: 1 15)"
    )
    parser.add_argument("--obs-size", type=int, default=128, help="size of the frames (default: 128)")
    parser.add_argument("--seconds", type=float, default=0.3, help="measuring time of each rate (default: 0.3)")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder for the figures")
    options = parser.parse_args()
    if not 0 <= options.powers[0] <= options.powers[1] <= 24:
        parser.error(f"--powers must be from 0 to 24, the smaller one first, got {options.powers}")
    sizes = [1 << power for power in range(options.powers[0], options.powers[1] + 1)]
    env_ids = options.env_ids or [name for name in registered_envs if name.endswith("Easy")]

    machine = speed.machine()
    path = options.out / f"device-{speed.file_name(machine)}.json"
    asked = {"machine": machine, "obs_size": options.obs_size, "seconds": options.seconds}
    found = read(path, asked)
    with terminal.Progress() as progress:
        for env_id in env_ids:
            for partial_obs in (False, True):
                for num_envs in sizes:
                    key = f"{env_id} {view_name(partial_obs)} {num_envs}"
                    if key in found:
                        continue
                    progress(f"{key} environments")
                    found[key] = measure(env_id, partial_obs, num_envs, options)
            files.write_whole(path, (json.dumps({**asked, "results": list(found.values())}, indent=1) + "\n").encode())
            draw(list(found.values()), machine, path.with_suffix(".png"))
    print(table(list(found.values())))
    print(f"wrote {path} and {path.with_suffix('.png')}")
    return 0


def read(path: pathlib.Path, asked: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Return what has been measured already, by what it is of; nothing if that was asked for in another way."""
    if not path.is_file():
        return {}
    content = files.read_json(path)
    if any(content[name] != value for name, value in asked.items()):
        raise SystemExit(f"{path} holds figures of other settings: choose another --out, or delete it")
    return {f"{each['env_id']} {view_name(each['partial_obs'])} {each['num_envs']}": each for each in content["results"]}


def measure(env_id: str, partial_obs: bool, num_envs: int, options: argparse.Namespace) -> dict[str, Any]:
    """Measure all three rates, in frames per second; `left_out` says why there are none."""
    about = {"env_id": env_id, "partial_obs": partial_obs, "num_envs": num_envs}
    shared = {"num_envs": num_envs, "obs_size": options.obs_size, "seconds": options.seconds}
    try:
        room.check_frames(num_envs, options.obs_size)
        step = speed.measure(env_id, partial_obs, **shared)
        rates = {
            "step": step["frames_per_second"],
            "fill": speed.fill_rate(**shared),
            f"last_of_{STEPS}": last_of_many(env_id, partial_obs, **shared),
        }
    except (MemoryError, jax.errors.JaxRuntimeError) as error:
        if isinstance(error, jax.errors.JaxRuntimeError) and "RESOURCE_EXHAUSTED" not in str(error):
            raise
        return about | {"left_out": str(error).partition("\n")[0]}
    return about | rates | {"compile_seconds": step["compile_seconds"], "memory_ratio": step["memory_ratio"]}


def last_of_many(env_id: str, partial_obs: bool, *, num_envs: int, obs_size: int, seconds: float) -> float:
    """Return steps per second of a program that takes `STEPS` steps and hands on the last frames alone."""
    env, params = popgym_arcade.make(env_id, partial_obs=partial_obs, obs_size=obs_size)
    step = jax.vmap(env.step, in_axes=(0, 0, 0, None))

    @jax.jit
    def start(key: jax.Array) -> Any:
        return jax.vmap(env.reset, in_axes=(0, None))(jax.random.split(key, num_envs), params)

    @jax.jit
    def roll(key: jax.Array, obs: jax.Array, state: Any) -> Any:
        def body(carry: Any, key: jax.Array) -> Any:
            key_step, key_action = jax.random.split(key)
            actions = jax.random.randint(key_action, (num_envs,), 0, env.num_actions)
            return step(jax.random.split(key_step, num_envs), carry[1], actions, params)[:2], None

        return jax.lax.scan(body, (obs, state), jax.random.split(key, STEPS))[0]

    carry = jax.block_until_ready(roll(jax.random.key(0), *start(jax.random.key(1))))
    durations: list[float] = []
    begin = time.perf_counter()
    while time.perf_counter() - begin < seconds or len(durations) < 3:
        key = jax.random.key(len(durations))
        begun = time.perf_counter()
        carry = jax.block_until_ready(roll(key, *carry))
        durations.append(time.perf_counter() - begun)
    return num_envs * STEPS / statistics.median(durations)


def table(results: list[dict[str, Any]]) -> str:
    """Lay out, for each game and view, the batch that steps fastest."""
    groups: dict[tuple[str, bool], list[dict[str, Any]]] = {}
    for each in results:
        if "step" in each:
            groups.setdefault((each["env_id"], each["partial_obs"]), []).append(each)
    rows = []
    for (env_id, partial_obs), group in groups.items():
        best = max(group, key=lambda each: each["step"])
        rates = [f"{best[name]:,.0f}" for name in ("step", "fill", f"last_of_{STEPS}")]
        rows.append([env_id, view_name(partial_obs), f"{best['num_envs']:,}", *rates, f"{best['step'] / best['fill']:.0%}"])
    header = ["environment", "view", "environments", "frames/s", "fill, frames/s", f"last of {STEPS}, steps/s", "of fill"]
    left_out = [
        f"left out: {each['env_id']}, {each['num_envs']}: {each['left_out']}" for each in results if "left_out" in each
    ]
    return "\n".join([terminal.table(header, rows), *left_out])


def draw(results: list[dict[str, Any]], machine: dict[str, Any], path: pathlib.Path) -> None:
    """Draw frames per second by the number of environments: a panel for each view, a line for each game."""
    with figures.style():
        figures.save(_figure(results, machine), path)


def _figure(results: list[dict[str, Any]], machine: dict[str, Any]) -> figures.Figure:
    figure = figures.Figure(figsize=(11, 4.6), layout="constrained")
    for axis, partial_obs in zip(figure.subplots(1, 2, sharey=True), (False, True), strict=True):
        known = [each for each in results if each["partial_obs"] == partial_obs and "step" in each]
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
        if not partial_obs:
            axis.set_ylabel("frames per second")
    figure.axes[-1].legend(fontsize=8, frameon=False, loc="center left", bbox_to_anchor=(1, 0.5))
    name = machine["processor"] if machine["backend"] == "cpu" else machine["device"]
    figure.suptitle(f"{name}, every frame in memory; dotted: steps of which the last of {STEPS} frames is kept")
    return figure


if __name__ == "__main__":
    sys.exit(main())
