"""What the games become on an accelerator: counted in compiled programs, without having one.

XLA's compilers for GPUs and TPUs run on a plain CPU machine. This script compiles `jit(vmap(step))` of games for one of
them and prints, for each game and view:

- kernels: programs started on the device in one step; copies among them. Each start costs a GPU some two microseconds.
- loops: while loops, which wait for the host or for themselves; their bodies count once.
- drawing: the kernels that write more than a twentieth of the frames.
- frames written: the bytes that all kernels write, in units of the frames.
- temporaries: memory beside arguments and results, in units of the frames.
- NVIDIA: machine instructions (SASS) that the kernels which draw execute, per byte of the frames, and the bound that follows
  for drawing: a GPU issues 128 instructions a cycle on each multiprocessor, and fills its memory at some 5/8 of its
  bandwidth.
- TPU: the compiler's own estimate of cycles, per frame.

It needs a virtual environment with the compiler, some 6 GB for NVIDIA and 1 GB for TPU:

    python3 -m venv .venv-cuda && .venv-cuda/bin/pip install "jax[cuda12]" nvidia-cuda-nvdisasm -e .
    python3 -m venv .venv-tpu && .venv-tpu/bin/pip install "jax[tpu]" -e .

    .venv-cuda/bin/python benchmarks/compiled.py --target h200 [ENV_ID ...]
    .venv-tpu/bin/python benchmarks/compiled.py --target v5e [ENV_ID ...]

Without ENV_ID it takes all Easy games. With `--rollout STEPS` it compiles a scan that stacks the frames of so many steps:
XLA fills the stack with zeros first, draws, and copies what is drawn into it. With `--update MEMORY ...` it compiles
an update of PPO's preset cpu in place of a step, with each of these memories, and counts what it starts, in a loop as
often as it turns; that needs the extra `baselines`. The figures are written to `benchmarks/results/compiled-TARGET.json`, or
beside it.
"""

import argparse
import dataclasses
import json
import math
import operator
import os
import pathlib
import random
import re
import subprocess
import sys
import tempfile
from collections.abc import Callable, Collection, Iterator
from typing import Any

HERE = pathlib.Path(__file__).parent

# The numbers XLA needs of a GPU, as its public repository lists them (xla/backends/gpu/target_config/specs).
_GPU = """
gpu_device_info {{
  threads_per_block_limit: 1024 threads_per_warp: 32 threads_per_core_limit: 2048 core_count: 132 fpus_per_core: 128
  shared_memory_per_block: 49152 shared_memory_per_core: 233472 shared_memory_per_block_optin: 232448
  registers_per_core_limit: 65536 registers_per_block_limit: 65536 l2_cache_size: 52428800 clock_rate_ghz: 1.98
  block_dim_limit_x: 2147483647 block_dim_limit_y: 65535 block_dim_limit_z: 65535
  thread_dim_limit_x: 1024 thread_dim_limit_y: 1024 thread_dim_limit_z: 64
  memory_bandwidth: {bandwidth} device_memory_size: {memory}
  cuda_compute_capability {{ major: 9 feature_extension: ACCELERATED_FEATURES }}
  device_vendor: "NVIDIA Corporation" device_address_bits: 64 name: "{name}"
  driver_version: "13.0.0" runtime_version: "12.8.0" compile_time_toolkit_version: "12.8.0" dnn_version: "9.10.0"
}}
platform_name: "CUDA" dnn_version_info {{ major: 9 minor: 10 }} device_description_str: "{name}"
"""
_ISSUED = 132 * 128 * 1.98e9
"""Instructions of single threads that an H100 or H200 issues in a second."""
_FILLED = 5 / 8
"""The share of the bandwidth at which memory is filled in practice."""
_DRAWS = 1 / 20
"""What writes a greater share of the frames is drawing."""


@dataclasses.dataclass(frozen=True)
class Target:
    """A device to compile for."""

    platform: str
    topology: dict[str, str]
    bandwidth: float
    """Of its memory, in bytes per second."""


def _gpu(name: str, bandwidth: int, memory: int) -> Target:
    config = _GPU.format(name=name, bandwidth=bandwidth, memory=memory)
    return Target("cuda", {"topology": "1x1x1", "target_config": config}, bandwidth)


TARGETS = {
    "h100": _gpu("NVIDIA H100 80GB HBM3", 3_352_320_000_000, 84_942_979_072),
    "h200": _gpu("NVIDIA H200 141GB HBM3e", 4_800_000_000_000, 151_397_597_184),
    "v5e": Target("tpu", {"topology_name": "v5e:2x2"}, 819e9),
}

Row = dict[str, Any]


def main() -> int:
    """Compile, count, print the table, and write it."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("env_ids", nargs="*", metavar="ENV_ID", help="such as NavigatorEasy (default: all Easy games)")
    parser.add_argument("--target", choices=TARGETS, required=True, help="the device to compile for")
    parser.add_argument("--view", choices=("mdp", "pomdp"), help="one view (default: both)")
    parser.add_argument("--num-envs", type=int, default=2048, help="environments in a batch (default: 2048)")
    parser.add_argument("--obs-size", type=int, default=128, help="size of the frames (default: 128)")
    parser.add_argument(
        "--rollout", type=int, metavar="STEPS", help="compile a scan that stacks the frames of so many steps"
    )
    parser.add_argument(
        "--update", nargs="+", metavar="MEMORY", help="compile an update of PPO's preset cpu, with each of these memories"
    )
    parser.add_argument("--num-seeds", type=int, default=1, help="with --update: seeds side by side (default: 1)")
    parser.add_argument("--out", type=pathlib.Path, default=HERE / "results", help="folder for the figures")
    options = parser.parse_args()
    if options.update and options.rollout:
        parser.error("--rollout and --update are two programs: choose one")

    dump = tempfile.TemporaryDirectory()
    if TARGETS[options.target].platform == "cuda":
        # Before JAX starts: kernels stay one by one instead of being recorded as graphs, and those of games are kept.
        flags = " --xla_gpu_enable_command_buffer="
        if not options.update:
            flags += f" --xla_dump_to={dump.name} --xla_dump_emitter_re=.*"
        os.environ["XLA_FLAGS"] = os.environ.get("XLA_FLAGS", "") + flags
    os.environ["JAX_PLATFORMS"] = "cpu"
    from popgym_arcade import files, registered_envs

    unknown = set(options.env_ids) - set(registered_envs)
    if unknown:
        parser.error(f"unknown games: {', '.join(sorted(unknown))}")
    rows: list[Row] = []
    for env_id in options.env_ids or [name for name in registered_envs if name.endswith("Easy")]:
        for view in [options.view] if options.view else ["mdp", "pomdp"]:
            for memory in options.update or [None]:
                row = measure_update(env_id, view, memory, options) if memory else measure(env_id, view, options, dump.name)
                print(_line(row) if rows else f"{_head(row)}\n{_line(row)}", flush=True)
                rows.append(row)
    options.out.mkdir(parents=True, exist_ok=True)
    what: Row = {"target": options.target}
    if options.update:
        name, what = "-update", what | {"algorithm": "ppo", "preset": "cpu", "num_seeds": options.num_seeds}
    else:
        name = f"-rollout{options.rollout}" if options.rollout else ""
        what |= {key: getattr(options, key) for key in ("num_envs", "obs_size", "rollout")}
    path = options.out / f"compiled-{options.target}{name}.json"
    files.write_whole(path, json.dumps({**what, **_versions(), "games": rows}, indent=1).encode() + b"\n")
    return 0


def measure(env_id: str, view: str, options: argparse.Namespace, folder: str) -> Row:
    """Compile one view of a game and count; `folder` is where the compiler leaves its programs."""
    target, dump = TARGETS[options.target], pathlib.Path(folder)
    for old in dump.glob("*"):
        old.unlink()
    module, memory = _compiled(*_program(env_id, view, options), target)
    frames = options.num_envs * options.obs_size**2 * 3 * (options.rollout or 1)
    written = {op: module.written(op) * module.runs(op) for op in module.operations()}
    row: dict[str, Any] = {
        "env_id": env_id,
        "view": view,
        "kernels": len(written),
        "copies": sum(op.opcode.startswith("copy") for op in written),
        "loops": sum(op.opcode == "while" for op in module.reached()),
        "drawing": sum(size >= frames * _DRAWS for size in written.values()),
        "frames_written": round(sum(written.values()) / frames, 2),
        "temporaries": round(memory.temp_size_in_bytes / frames, 3),
    }
    if target.platform == "cuda":
        drawing = {op: size / frames for op, size in written.items() if size >= frames * _DRAWS}
        # What the driver copies has no machine code of its own.
        coded = {op.name: share for op, share in drawing.items() if '"kind":"__custom_fusion"' not in op.text}
        each = _instructions_per_byte(dump, coded)
        row["instructions_per_byte"] = round(sum(each[name] * share for name, share in coded.items()), 1)
        fill = target.bandwidth * _FILLED / max(row["frames_written"], 1)
        issue = _ISSUED / row["instructions_per_byte"]
        row["bound_mega_frames"] = round(min(fill, issue) / (options.obs_size**2 * 3) / 1e6, 1)
    else:
        cycles = sum(op.cycles * module.runs(op) for op in module.operations())
        row["cycles_per_frame"] = round(cycles / options.num_envs / (options.rollout or 1))
    return row


def measure_update(env_id: str, view: str, memory: str, options: argparse.Namespace) -> Row:
    """Compile an update of PPO's preset cpu, and count what it starts."""
    import equinox as eqx
    import jax

    from popgym_arcade.baselines.algorithm import Task
    from popgym_arcade.baselines.training import config
    from popgym_arcade.baselines.training.trainer import over_seeds

    settings = config.preset("cpu", "ppo", env_id, memory)
    run = config.from_dict({"algorithm": "ppo", "env_id": env_id, "view": view, "memory": memory, **settings})
    env, env_params = run.make_env()
    params, structure = eqx.partition(run.network_shapes(), lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))
    first, update = (
        over_seeds(lambda learner, key, call=call: call(learner, Task(env, env_params, structure, key)), options.num_seeds)
        for call in (run.algorithm.init, run.algorithm.update)
    )
    every = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((options.num_seeds, *leaf.shape), leaf.dtype), params)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), options.num_seeds))
    module, used = _compiled(update, (jax.eval_shape(first, every, keys), keys), TARGETS[options.target])
    return {
        "env_id": env_id,
        "view": view,
        "memory": memory,
        "kernels": sum(1 for _ in module.operations()),
        "started": sum(module.runs(op) for op in module.operations()),
        "loops": sum(op.opcode == "while" for op in module.reached()),
        "temporary_megabytes": round(used.temp_size_in_bytes / 1e6),
    }


def _compiled(function: Callable[..., Any], arguments: Any, target: Target) -> tuple["Module", Any]:
    """Compile a function for a device that is not there: the program, and the memory that it takes."""
    import jax

    compiled = jax.jit(function).lower(*_placed(arguments, target)).compile()
    return Module(compiled.as_text() or ""), compiled.memory_analysis()


def _program(env_id: str, view: str, options: argparse.Namespace) -> tuple[Callable[..., Any], Any]:
    """Return `vmap(step)`, or a scan over it, and the shapes of its arguments."""
    import jax
    import jax.numpy as jnp

    import popgym_arcade

    env, params = popgym_arcade.make(env_id, partial_obs=view == "pomdp", obs_size=options.obs_size)
    keys = jax.eval_shape(lambda: jax.random.split(jax.random.key(0), options.num_envs))
    _, states = jax.eval_shape(jax.vmap(env.reset), keys)
    step = jax.vmap(lambda key, state, action: env.step(key, state, action, params))
    if options.rollout is None:
        return step, (keys, states, jax.ShapeDtypeStruct((options.num_envs,), jnp.int32))

    def rollout(keys: jax.Array, states: Any) -> Any:
        def body(carry: Any, _: None) -> Any:
            keys, states = carry
            keys, step_keys = jnp.moveaxis(jax.vmap(jax.random.split)(keys), 1, 0)
            obs, states, reward, done, info = step(step_keys, states, states.time % 5)
            return (keys, states), (obs, reward, done, info["discount"])

        return jax.lax.scan(body, (keys, states), None, options.rollout)

    return rollout, (keys, states)


def _placed(arguments: Any, target: Target) -> Any:
    """Put shapes on the target's first device, which is not there."""
    import jax
    from jax.experimental import topologies

    try:
        topology: Any = topologies.get_topology_desc(platform=target.platform, **target.topology)
    except Exception as error:
        raise SystemExit(
            f"no compiler for {target.platform} in this environment; the top of {__file__} says how to install it: {error}"
        ) from error
    sharding = jax.sharding.SingleDeviceSharding(topology.devices[0])
    return jax.tree.map(lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding), arguments)


@dataclasses.dataclass(frozen=True)
class Operation:
    """An instruction of an optimised HLO module."""

    name: str
    shape: str
    opcode: str
    text: str

    @property
    def called(self) -> list[str]:
        """The computations it runs as such: bodies of loops, branches, calls; not what is fused into it."""
        if self.opcode not in _CONTROL:
            return []
        single = re.findall(r"(?:body|to_apply|calls|true_computation|false_computation)=%?([\w.\-]+)", self.text)
        several = re.findall(r"branch_computations=\{([^}]*)\}", self.text)
        return single + [name.strip().lstrip("%") for names in several for name in names.split(",")]

    @property
    def cycles(self) -> int:
        """The TPU compiler's estimate for one run."""
        found = re.search(r'"estimated_cycles":"(\d+)"', self.text)
        return int(found.group(1)) if found else 0


_NO_KERNELS = {"parameter", "constant", "tuple", "get-tuple-element", "bitcast", "after-all"}
_CONTROL = {"while", "conditional", "call", "async-start"}
_WIDTHS = {"128": 16, "64": 8, "U16": 2, "S16": 2, "16": 2, "U8": 1, "S8": 1, "8": 1}
"""The bytes that a store writes by the parts of its name; 4, if there is none of these."""
_BYTES = {"pred": 1, "bf16": 2, "token": 0}


class Module:
    """An optimised HLO module, read from its text."""

    def __init__(self, text: str) -> None:
        self.computations: dict[str, list[Operation]] = {}
        current: list[Operation] = []
        for line in text.splitlines():
            if begin := re.match(r"(?:ENTRY )?%?([\w.\-]+) .*\{$", line):
                current = self.computations[begin.group(1)] = []
                if line.startswith("ENTRY"):
                    self.entry = begin.group(1)
            elif found := re.match(r"\s+(?:ROOT )?%?([\w.\-]+) = (\(.*?\)|\S+) ([\w\-]+)\(", line):
                name, shape, opcode = found.groups()
                current.append(Operation(name, shape, opcode, line))
        self._runs = dict(self._count(self.entry, 1))

    def _count(self, name: str, runs: int) -> Iterator[tuple[Operation, int]]:
        for op in self.computations[name]:
            yield op, runs
            turns = re.search(r'"known_trip_count":\{"n":"(\d+)"', op.text) if op.opcode == "while" else None
            for inner in op.called:
                yield from self._count(inner, runs * (int(turns.group(1)) if turns else 1))

    def reached(self) -> Iterator[Operation]:
        """All that runs, bodies of loops included."""
        return iter(self._runs)

    def operations(self) -> Iterator[Operation]:
        """What is started on the device."""
        return (op for op in self._runs if op.opcode not in _NO_KERNELS | _CONTROL and not _starts_nothing(op))

    def runs(self, op: Operation) -> int:
        """How often an operation runs, where loops tell how often they turn."""
        return self._runs[op]

    def written(self, op: Operation) -> int:
        """How many bytes an operation writes: of one that updates an array in place, those of the update."""
        fused = re.search(r"calls=%?([\w.\-]+)", op.text) if op.opcode == "fusion" else None
        inside = self.computations[fused.group(1)] if fused else [op]
        shapes = {inner.name: inner.shape for inner in inside}
        updates = [inner for inner in inside if inner.opcode == "dynamic-update-slice"]
        total = _size(op.shape)
        for update in updates:
            operands = re.findall(r"%([\w.\-]+)", update.text.partition("dynamic-update-slice(")[2])
            if update.shape.partition("{")[0] in op.shape and operands[1] in shapes:
                total += _size(shapes[operands[1]]) - _size(update.shape)
        return total


def _starts_nothing(op: Operation) -> bool:
    return op.opcode.endswith("-done") or 'custom_call_target="AllocateBuffer"' in op.text


def _size(shape: str) -> int:
    """The bytes of a shape, or of a tuple of them."""
    total = 0
    for kind, bits, dims in re.findall(r"\b(pred|bf16|token|[a-z]+(\d+)[a-z0-9]*)\[([\d,]*)\]", shape):
        each = _BYTES[kind] if kind in _BYTES else max(int(bits) // 8, 1)
        total += each * math.prod(int(dim) for dim in dims.split(",") if dim)
    return total


def _instructions_per_byte(dump: pathlib.Path, kernels: Collection[str]) -> dict[str, float]:
    """Assemble kernels, and divide the instructions that a thread executes by the bytes that it stores."""
    found = {}
    for ptx in sorted(dump.glob("*.ptx")):
        entry = re.search(r"\.entry (\w+)", ptx.read_text())
        name = next((name for name in kernels if entry and re.sub(r"\W", "_", name) == entry.group(1)), None)
        if name is None:
            continue
        cubin = ptx.with_suffix(".cubin")
        _run("ptxas", "-arch=sm_90a", str(ptx), "-o", str(cubin))
        sass = _run("nvdisasm", "-c", str(cubin))
        operations = re.findall(r"/\*[0-9a-f]{4,}\*/\s+(?:@!?U?P\w+\s+)?([A-Z][A-Z0-9_.]*)", sass)
        # After the end there is padding, of operations that do nothing and jump to themselves.
        operations = [operation for operation in operations if operation not in ("NOP", "BRA")]
        stores = [operation.split(".") for operation in operations if operation.split(".")[0] in ("ST", "STG")]
        stored = sum(next((_WIDTHS[part] for part in store if part in _WIDTHS), 4) for store in stores)
        found[name] = len(operations) / stored * _executed(ptx.read_text())
    if missing := set(kernels) - set(found):
        raise RuntimeError(f"no machine code found for {', '.join(sorted(missing))}")
    return found


def _executed(ptx: str, sample: int = 256) -> float:
    """Return the share of a kernel's instructions that a thread executes, on average: where pixels differ, it branches.

    A sample of threads is followed through the PTX. Which way they take depends on where their pixels are, and so on
    arithmetic with their numbers; what they load is not known, and does not matter.
    """
    lines = [line.strip().rstrip(";") for line in ptx[ptx.index("{") :].splitlines()]
    code = [
        line for line in lines if re.match(r"(@!?%p\d+ )?[a-z]|\$\w+:", line) and not line.startswith(("ld.param", "cvta"))
    ]
    labels = {line[:-1]: place for place, line in enumerate(code) if line.endswith(":")}
    per_block = int(re.findall(r"\.reqntid (\d+)", ptx)[0])
    rng = random.Random(0)
    executed = 0
    for _ in range(sample):
        registers: dict[str, int | None] = {
            "%ctaid.x": rng.randrange(4096),
            "%tid.x": rng.randrange(per_block),
            "%ntid.x": per_block,
        }
        place = 0
        while place < len(code):
            guard, operation, operands = re.findall(r"^(@!?%p\d+ )?([\w.$:]+)\s*(.*)", code[place])[0]
            place += 1
            if code[place - 1].endswith(":"):
                continue
            executed += 1
            holds = True
            if guard:
                value = registers.get(guard.strip(" @!"))
                holds = value is not None and bool(value) != guard.startswith("@!")
            if operation == "ret" and holds:
                break
            if operation.startswith("bra"):
                place = labels[operands.strip()] if holds else place
            elif operands.startswith("%"):
                target, *inputs = [part.strip() for part in operands.split(",")]
                values = [registers.get(part) if part.startswith("%") else _literal(part) for part in inputs]
                registers[target] = _compute(operation, values)
    return executed / sample / sum(not line.endswith(":") for line in code)


def _literal(text: str) -> int | None:
    return int(text, 0) if re.fullmatch(r"-?(0x[0-9a-fA-F]+|\d+)", text) else None


def _compute(operation: str, values: list[int | None]) -> int | None:
    """Compute an integer instruction of PTX; None, where anything needed is not known."""
    name, *parts = operation.split(".")
    if name == "selp" and values[2] is not None:
        return values[0] if values[2] else values[1]
    if None in values or (name not in _ARITHMETIC and name != "setp"):
        return None
    kind, bits = parts[-1][0], int(re.findall(r"\d+$", parts[-1])[0]) if parts[-1] != "pred" else 1
    numbers = [value for value in values if value is not None]
    result = int(_COMPARISONS[parts[0]](*numbers) if name == "setp" else _ARITHMETIC[name](*numbers))
    if "hi" in parts:
        result >>= bits
    result &= (1 << (2 * bits if "wide" in parts else bits)) - 1
    return result - (1 << bits) if kind == "s" and result >> (bits - 1) and "wide" not in parts else result


_ARITHMETIC: dict[str, Callable[..., Any]] = {
    "mov": lambda a: a,
    "cvt": lambda a: a,
    "add": operator.add,
    "sub": operator.sub,
    "neg": operator.neg,
    "mul": operator.mul,
    "mad": lambda a, b, c: a * b + c,
    "and": operator.and_,
    "or": operator.or_,
    "xor": operator.xor,
    "shl": operator.lshift,
    "shr": operator.rshift,
    "bfe": lambda a, start, length: a >> start & (1 << length) - 1,
    "min": min,
    "max": max,
}
_COMPARISONS: dict[str, Callable[[int, int], bool]] = {
    name: getattr(operator, name) for name in ("eq", "ne", "lt", "le", "gt", "ge")
}


def _run(tool: str, *arguments: str) -> str:
    """Run a tool of the CUDA packages in this environment."""
    folder = pathlib.Path(sys.prefix)
    found = sorted(folder.glob(f"lib/python*/site-packages/nvidia/*/bin/{tool}"))
    if not found:
        raise SystemExit(f"{tool} is not installed in {folder}, see the top of {pathlib.Path(__file__).name}")
    return subprocess.run([found[0], *arguments], check=True, capture_output=True, text=True).stdout


def _versions() -> Row:
    import jax

    import popgym_arcade

    return {"popgym_arcade": popgym_arcade.__version__, "jax": jax.__version__}


def _head(row: Row) -> str:
    return f"{'environment':<20}" + "".join(f"{name.replace('_', ' '):>{len(name) + 2}}" for name in list(row)[1:])


def _line(row: Row) -> str:
    return f"{row['env_id']:<20}" + "".join(f"{value!s:>{len(name) + 2}}" for name, value in list(row.items())[1:])


if __name__ == "__main__":
    sys.exit(main())
