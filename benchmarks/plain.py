"""Compare a step of our games with a plain C program that draws the same frames, and with filling the memory.

`plain.c` copies the background, then every glyph: it is told what each cell shows, and does no more. Ours is the whole step:
rules, fresh starts, drawing. C is compiled with -O3 -march=native, and frames are compared bit by bit before anything is
timed. All are measured in turns, in one process, by processor time per frame, so that all of XLA's threads count.

    python benchmarks/plain.py [ENV_ID ...]
"""

import argparse
import ctypes
import json
import pathlib
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from typing import Any

import jax
import numpy as np

import popgym_arcade
from popgym_arcade import arguments, files
from popgym_arcade.environment import view_name
from popgym_arcade.graphics import screen

HERE = pathlib.Path(__file__).parent
GAMES = ("NavigatorEasy", "BattleShipEasy", "MineSweeperEasy", "CountRecallEasy", "AutoEncodeEasy")


class Grid(ctypes.Structure):
    """`struct grid` of plain.c."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("top", "left", "rows", "cols", "height", "width")),
        ("glyphs", ctypes.c_void_p),
        ("ids", ctypes.c_void_p),
    )


def main() -> int:
    """Compile, compare the pixels, measure, print and write the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument(
        "env_ids",
        nargs="*",
        type=arguments.env_id,
        metavar="ENV_ID",
        help=f"games of glyphs alone (default: {' '.join(GAMES)})",
    )
    parser.add_argument("--num-envs", type=int, default=256, help="environments in a batch (default: 256)")
    parser.add_argument("--rounds", type=int, default=60, help="turns of each (default: 60)")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder for the figures")
    options = parser.parse_args()
    rows = []
    print(f"{'environment':<24}{'ours, us':>10}{'C, us':>10}{'fill, us':>10}{'ours / C':>10}")
    with tempfile.TemporaryDirectory() as folder:
        draw = _compile(pathlib.Path(folder))
        for env_id in options.env_ids or GAMES:
            for partial_obs in (False, True):
                rows.append(measure(draw, env_id, partial_obs, options))
                name, ours, c, fill, ratio = rows[-1].values()
                print(f"{name:<24}{ours:>10.1f}{c:>10.1f}{fill:>10.1f}{ratio:>10.2f}", flush=True)
    content = {"num_envs": options.num_envs, "obs_size": 128, "jax": jax.__version__, "games": rows}
    options.out.mkdir(parents=True, exist_ok=True)
    files.write_whole(options.out / "plain-cpu.json", json.dumps(content, indent=1).encode() + b"\n")
    return 0


def measure(draw: Callable[..., None], env_id: str, partial_obs: bool, options: argparse.Namespace) -> dict[str, Any]:
    """Measure one view of a game: microseconds of processor time per frame."""
    env, params = popgym_arcade.make(env_id, partial_obs=partial_obs)
    count = options.num_envs
    keys = jax.random.split(jax.random.key(0), count)
    actions = jax.random.randint(jax.random.key(1), (count,), 0, 5)
    step = jax.jit(jax.vmap(lambda key, state, action: env.step(key, state, action, params)))
    states = jax.jit(jax.vmap(lambda key: env.reset(key, params)[1]))(keys)
    obs = None
    for _ in range(8):
        obs, states, *_ = step(keys, states, actions)
    background, pictures, ids = _contents(env, states)
    grids = (Grid * len(ids))(
        *(
            Grid(grid.top, grid.left, grid.rows, grid.cols, *grid.cell, glyphs.ctypes.data, shown.ctypes.data)
            for grid, glyphs, shown in zip(_screen(env).grids, pictures, ids, strict=True)
        )
    )
    frames = np.empty((count, env.obs_size, env.obs_size, 3), np.uint8)
    functions: dict[str, Callable[[], Any]] = {
        "ours": lambda: jax.block_until_ready(step(keys, states, actions)),
        "c": lambda: draw(frames.ctypes.data, background.ctypes.data, count, env.obs_size, grids, len(grids)),
        "fill": lambda: frames.fill(7),
    }
    functions["c"]()
    if not np.array_equal(frames, np.asarray(obs)):
        raise RuntimeError(f"plain C draws other frames of {env_id} than we do")
    turns: dict[str, list[float]] = {name: [] for name in functions}
    for _ in range(options.rounds):
        for name, function in functions.items():
            begin = time.process_time()
            function()
            turns[name].append((time.process_time() - begin) / count * 1e6)
    medians = {name: round(statistics.median(values), 2) for name, values in turns.items()}
    ratio = statistics.median(ours / c for ours, c in zip(turns["ours"], turns["c"], strict=True))
    return {"env": f"{env_id} {view_name(partial_obs)}", **medians, "ours_over_c": round(ratio, 2)}


def _contents(env: Any, states: Any) -> tuple[np.ndarray, list[np.ndarray], list[np.ndarray]]:
    """Return background and glyphs of a game's screen, and what each cell shows in some states."""
    place = _screen(env)
    render = place.render

    def told(*layers: Any) -> Any:
        if any(isinstance(layer, screen.Patch) for layer in layers):
            raise SystemExit(f"{env.name} is not made of glyphs alone")
        return [screen.shown(grid, layers) for grid in place.grids]

    place.render = told
    try:
        ids = jax.jit(jax.vmap(lambda state: env.draw(state)))(states)
    finally:
        place.render = render
    glyphs = [np.ascontiguousarray(grid.glyphs) for grid in place.grids]
    return np.ascontiguousarray(place.background), glyphs, [np.ascontiguousarray(leaf, np.int32) for leaf in ids]


def _screen(env: Any) -> screen.Screen:
    parts = env.layout if isinstance(env.layout, tuple) else (env.layout,)
    return next(part if isinstance(part, screen.Screen) else part.screen for part in parts)


def _compile(folder: pathlib.Path) -> Callable[..., None]:
    compiler = shutil.which("cc")
    if compiler is None:
        raise SystemExit("a C compiler, cc, is needed")
    library = folder / "plain.so"
    command = [compiler, "-O3", "-march=native", "-shared", "-fPIC", str(HERE / "plain.c"), "-o", str(library)]
    subprocess.run(command, check=True)
    draw = ctypes.CDLL(str(library)).draw
    draw.restype = None
    draw.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int32, ctypes.c_int32, ctypes.c_void_p, ctypes.c_int32]
    return draw


if __name__ == "__main__":
    sys.exit(main())
