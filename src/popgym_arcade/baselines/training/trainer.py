"""The loop: update after update, with checkpoints, metrics and a progress bar, until the steps are done."""

import dataclasses
import errno
import functools
import importlib.metadata
import json
import math
import pathlib
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from typing import Any

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Key, PRNGKeyArray
from tqdm import tqdm

import popgym_arcade
from popgym_arcade import checks, files, room, speed
from popgym_arcade.baselines import checkpoint
from popgym_arcade.baselines.algorithm import Metrics, Shard, Task
from popgym_arcade.baselines.checkpoint import CheckpointError
from popgym_arcade.baselines.training import config as configs
from popgym_arcade.baselines.training import logs, results, run
from popgym_arcade.baselines.training.config import Config
from popgym_arcade.baselines.training.devices import Layout, byte_count, check_room
from popgym_arcade.environment import Environment

_PACKAGES = ("jax", "equinox", "optax", "memax", "numpy")
_MOST_LAYERS = 1000
_QUIET_SECONDS = 30  # between two lines of progress, where nobody looks at a terminal


class TrainingError(ValueError):
    """Training cannot go on."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ResumeOptions:
    """Options of a run on which the trained agent does not depend."""

    num_devices: int | None = None
    """On how many devices of this process the environments are played (by default all)."""
    checkpoint_minutes: float = 5.0
    """Time between two checkpoints."""
    tensorboard: bool = True
    """Write metrics for TensorBoard, too."""
    wandb: str | None = None
    """Send metrics to this project of Weights & Biases, too; WANDB_MODE=offline keeps them on this machine."""
    eval_episodes: int = 256
    """Episodes of each seed in the evaluation at the end."""
    video: bool = True
    """Film an episode at the end."""

    def __post_init__(self) -> None:
        """Check the numbers.

        Raises:
            ValueError: if one is out of range.
        """
        checks.in_range("eval_episodes", self.eval_episodes, 2)
        if not self.checkpoint_minutes > 0:
            raise ValueError(f"checkpoint_minutes must be positive, got {self.checkpoint_minutes}")


@dataclasses.dataclass(frozen=True, kw_only=True)
class Options(ResumeOptions):
    """Options of a new run."""

    run: pathlib.Path | str | None = None
    """The folder for all that is written (by default runs/ and a name made of the config)."""
    resumable: bool = False
    """If the run exists already, go on with it, so that the same command can be given again."""


def default_folder(config: Config[Any]) -> pathlib.Path:
    """Return the folder of a run whose user has named none."""
    named = run.name(config.env_id, config.partial_obs, config.algorithm_name, config.memory, config.seed)
    return pathlib.Path("runs") / named


def train(config: Config[Any], options: Options = Options()) -> pathlib.Path:
    """Train from the start.

    Args:
        config: what.
        options: how.

    Returns:
        the folder of the run, see `popgym_arcade.baselines.training.run`.

    Raises:
        BlockingIOError: if another process trains this run.
        FileExistsError: if the folder holds something already.
        MemoryError: if it does not fit into memory.
        ModuleNotFoundError: if Weights & Biases are asked for and missing.
        OSError: if the folder cannot be written, or its disk is too small.
        TrainingError: if the loss is no longer finite.
        ValueError: if the config names something that does not exist or does not fit together.
    """
    folder = pathlib.Path(options.run or default_folder(config))
    if options.resumable and (folder / run.CONFIG).is_file():
        if changed := config.differences(configs.read_config(folder / run.CONFIG).to_dict()):
            raise ValueError(f"{folder} is another run: {', '.join(changed)} differ")
        return resume(folder, options)
    layout = Layout(options.num_devices)
    if layout.is_first:
        _check_unused(folder)
    training = _Training(config, options, folder, layout)
    with _alone(folder, layout):
        if layout.is_first:
            _check_unused(folder)  # another process may have been faster
            files.write_whole(folder / run.CONFIG, (json.dumps(config.to_dict(), indent=1) + "\n").encode())
        with _full_disk_explained(folder):
            training.begin()
            return training.finish()


def resume(folder: str | pathlib.Path, options: ResumeOptions = ResumeOptions()) -> pathlib.Path:
    """Go on with a run that was cut off, from its last good checkpoint.

    On the same machine and devices the end is the same, bit for bit, as if nothing had happened.

    Raises:
        CheckpointError: if there is no checkpoint that can be read.
        FileNotFoundError: if the folder is no run.
        Exception: see `train`.
    """
    folder = pathlib.Path(folder)
    if not (folder / run.CONFIG).is_file():
        raise FileNotFoundError(f"{folder} is no run: it has no {run.CONFIG}")
    config = configs.read_config(folder / run.CONFIG)
    if config.other_rules:
        raise ValueError(f"{folder} was begun under {config.other_rules}: train anew")
    if run.is_finished(folder):
        print(f"{folder} is finished", file=sys.stderr)
        return folder
    layout = Layout(options.num_devices)
    with _alone(folder, layout), _full_disk_explained(folder):
        training = _Training(config, options, folder, layout)
        training.go_on()
        return training.finish()


def _check_unused(folder: pathlib.Path) -> None:
    if folder.exists() and (not folder.is_dir() or {*folder.iterdir()} - {*run.leftovers(folder), folder / run.LOCK}):
        hint = f"train --resume {folder} goes on with it" if (folder / run.CONFIG).is_file() else "choose another --run"
        raise FileExistsError(f"{folder} exists already; {hint}")


def _alone(folder: pathlib.Path, layout: Layout) -> AbstractContextManager[None]:
    """Keep the run to this process, and those that train with it: the first one speaks for them."""
    return run.alone(folder) if layout.is_first else nullcontext()


class _Training:
    def __init__(self, config: Config[Any], options: ResumeOptions, folder: pathlib.Path, layout: Layout) -> None:
        if options.wandb and layout.is_first:
            logs.wandb()  # what is missing is missed before anything is made
        self.config, self.options, self.folder, self.layout = config, options, folder, layout
        self.updates, self.seconds, self.cpu_seconds = 0, 0.0, 0.0
        self.algorithm = config.algorithm
        self.total = math.ceil(self.algorithm.total_timesteps / self.algorithm.steps_per_update)
        self.env, _ = config.make_env()
        # A CPU gains nothing from seeds that train side by side: they take turns.
        self.at_once = 1 if jax.default_backend() == "cpu" else config.num_seeds
        self.learners: list[Any] = []
        self._prepare()
        self.groups = [config.seeds[i : i + self.at_once] for i in range(0, config.num_seeds, self.at_once)]

    def _prepare(self) -> None:
        # Shapes alone: what does not fit is refused before it is made.
        self._check_layers()
        self.algorithm.check(self.config.network_shapes(), self.layout.shard)
        self.programs = _programs(self.config.without_seeds, self.env, self.layout, self.at_once)
        whole = self.programs.learner
        every = jax.tree.map(lambda leaf: jax.ShapeDtypeStruct((self.config.num_seeds, *leaf.shape), leaf.dtype), whole)
        if self.layout.is_first:
            files.check_folder(self.folder / run.CONFIG)
        check_room(every, self.folder, self.layout)
        self.like = [whole] * self.config.num_seeds

    def _check_layers(self) -> None:
        """See that the layers fit into memory, by the shapes of two: those of all would take as long as there are layers."""
        few = (1, 2)
        if self.config.layers in few:
            return
        configs = [dataclasses.replace(self.config, layers=layers) for layers in few]
        one, two = (byte_count(config.network_shapes()) for config in configs)
        room.check("the network", one + (self.config.layers - 1) * (two - one))
        if self.config.layers > _MOST_LAYERS:
            raise ValueError(f"layers must be at most {_MOST_LAYERS}, as each is compiled, got {self.config.layers}")

    def begin(self) -> None:
        params = [eqx.filter(self.config.make_network(seed), eqx.is_inexact_array) for seed in self.config.seeds]
        for number, seeds in enumerate(self.groups):
            place = number * self.at_once
            together = jax.tree.map(lambda *leaves: np.stack(leaves), *params[place : place + len(seeds)])
            self.learners.append(self.programs.init(together, _keys(seeds)))
        self.save()

    def go_on(self) -> None:
        if not checkpoint.steps(self.folder / run.CHECKPOINTS):
            self.begin()  # it was cut off before there was anything to lose
            return
        learners, meta, complaints = checkpoint.newest(self.folder / run.CHECKPOINTS, self.like, _complain)
        if self.layout.is_first:
            for complaint in complaints:
                print(f"popgym-arcade: an older checkpoint is used: {complaint}", file=sys.stderr)
        if changed := self.config.differences(meta["config"]):
            raise CheckpointError(
                f"{self.folder} was begun with another config: {', '.join(changed)} differ; it must not change"
            )
        self.updates, self.seconds, self.cpu_seconds = meta["updates"], meta["seconds"], meta.get("cpu_seconds", math.nan)
        for number in range(0, len(learners), self.at_once):
            group = learners[number : number + self.at_once]
            self.learners.append(self.layout.spread(jax.tree.map(lambda *leaves: np.stack(leaves), *group)))

    def save(self) -> None:
        whole = self._each_seed(self.learners)
        if self.layout.is_first:
            meta = {
                "updates": self.updates,
                "seconds": self.seconds,
                "cpu_seconds": self.cpu_seconds,
                "config": self.config.to_dict(),
                "versions": _versions(),
            }
            checkpoint.save_step(self.folder / run.CHECKPOINTS, self.updates, whole, meta)

    def _each_seed(self, groups: list[Any]) -> list[Any]:
        """Fetch pytrees, whose leaves have a first axis of seeds, to the host: one for each seed."""
        return [
            jax.tree.map(lambda leaf, i=i: leaf[i], group)
            for group in map(self.layout.gather, groups)
            for i in range(self.at_once)
        ]

    def finish(self) -> pathlib.Path:
        with self._logs() as written, _stop_signals() as stopped:
            self._loop(written, stopped)
        self.save()
        if self.layout.is_first:
            self._write_results()
        self.layout.agree(True)  # none leaves before the first one is done: its end would be taken for a loss
        return self.folder

    @contextmanager
    def _logs(self) -> Iterator[list[logs.Log]]:
        if not self.layout.is_first:
            yield []
            return
        steps = self.updates * self.algorithm.steps_per_update
        lines = self.updates * self.config.num_seeds
        written: list[logs.Log] = [logs.JsonLines(self.folder / run.METRICS, steps, lines)]
        if self.options.tensorboard:
            written.append(logs.TensorBoard(self.folder / run.TENSORBOARD, self.config.seeds, steps))
        if self.options.wandb:
            written.append(logs.Wandb(self.options.wandb, self.folder, self.config.to_dict()))
        try:
            yield written
        finally:
            for log in written:
                log.close()

    def _loop(self, written: list[logs.Log], stopped: list[int]) -> None:
        steps_per_update = self.algorithm.steps_per_update
        is_watched = sys.stderr.isatty()
        bar = tqdm(
            total=self.total * steps_per_update,
            initial=self.updates * steps_per_update,
            desc=self.config.title,
            unit=" steps",
            unit_scale=True,
            mininterval=0.5 if is_watched else _QUIET_SECONDS,
            disable=not self.layout.is_first,
            dynamic_ncols=True,
        )
        keys = [_keys(seeds) for seeds in self.groups]
        last_save = time.monotonic()
        recent = _Recent()
        with bar:
            while self.updates < self.total:
                begun, cpu_begun = time.monotonic(), time.process_time()
                metrics = []
                for number, learner in enumerate(self.learners):
                    self.learners[number], told = self.programs.update(learner, keys[number])
                    metrics.append(told)
                every = [{name: float(value) for name, value in told.items()} for told in self._each_seed(metrics)]
                elapsed = time.monotonic() - begun
                self.updates += 1
                self.seconds += elapsed
                self.cpu_seconds += time.process_time() - cpu_begun
                steps = self.updates * steps_per_update
                self._check_finite(every)
                for seed, told in zip(self.config.seeds, every, strict=True):
                    for log in written:
                        rate = {
                            "seconds": self.seconds,
                            "steps_per_second": self.config.num_seeds * steps_per_update / elapsed,
                        }
                        log.write(seed, steps, told | rate)
                bar.set_postfix_str(recent.add(every), refresh=False)
                bar.update(steps_per_update)
                is_due = time.monotonic() - last_save > 60 * self.options.checkpoint_minutes
                if self.layout.agree(is_due or bool(stopped)):
                    for log in written:
                        log.sync()
                    self.save()
                    last_save = time.monotonic()
                if self.layout.agree(bool(stopped)):
                    bar.close()
                    raise KeyboardInterrupt(f"stopped after update {self.updates}; train --resume {self.folder} goes on")

    def _check_finite(self, every: list[dict[str, float]]) -> None:
        for seed, told in zip(self.config.seeds, every, strict=True):
            lost = [name for name, value in told.items() if name != "mean_return" and not math.isfinite(value)]
            if lost:
                learners, meta, _ = checkpoint.newest(self.folder / run.CHECKPOINTS, self.like, _complain)
                if self.layout.is_first:
                    self._write_models([learner.params for learner in learners])
                raise TrainingError(
                    f"{lost[0]} of seed {seed} is not finite in update {self.updates}, so training stopped; a smaller "
                    f"--learning-rate may help. The weights of update {meta['updates']} are in {self.folder}"
                )

    def _write_models(self, params: list[Any]) -> list[Any]:
        models = [eqx.combine(jax.tree.map(jnp.asarray, each), self.programs.structure) for each in params]
        (self.folder / run.EVALUATION).unlink(missing_ok=True)  # its checksums are of those before
        for seed, model in zip(self.config.seeds, models, strict=True):
            run.save_model(self.folder, self.config, seed, model)
        return models

    def _write_results(self) -> None:
        params = self._each_seed([learner.params for learner in self.learners])
        models = dict(zip(self.config.seeds, self._write_models(params), strict=True))
        config, folder, episodes = self.config, self.folder, self.options.eval_episodes
        lines = logs.read_metrics(folder / run.METRICS)
        if lines:  # unless all are lost
            files.write_whole(folder / run.CURVE, results.curve(lines, config.title))
        if self.options.video:
            files.write_whole(folder / run.FILM, results.film(models[config.seed], config, config.seed))
        played = results.returns(models, config, config.partial_obs, episodes, config.seed)
        told = results.summaries(played, config.env_id, config.partial_obs)
        paths = [run.model_path(folder, config, seed) for seed in models]
        checksums = {path.name: run.checksum(path) for path in paths}
        content = {
            "config": config.to_dict(),
            "train_seconds": self.seconds,
            "train_cpu_seconds": self.cpu_seconds,
            "versions": _versions(),
            "machine": speed.machine(),
            "checksums": checksums,
            "results": told,
        }
        files.write_whole(folder / run.EVALUATION, (json.dumps(content, indent=1) + "\n").encode())
        for result in told:
            low, high = result["interval"]
            print(
                f"seed {result['seed']}: greedy return {result['mean']:.3f}, 95 % interval {low:.3f} to {high:.3f}, "
                f"{episodes} episodes"
            )
        print(f"wrote {folder}")


@dataclasses.dataclass(frozen=True)
class _Programs:
    """What is compiled for a run."""

    init: Callable[[Any, Any], Any]
    """(parameters, keys) -> learner; with a first axis of seeds that train side by side."""
    update: Callable[[Any, Any], tuple[Any, Metrics]]
    """(learner, keys) -> (learner, metrics), the same way."""
    structure: Any
    """The network without its parameters."""
    learner: Any
    """The shapes and dtypes of a learner, of all environments."""


def over_seeds(function: Callable[..., Any], num_seeds: int) -> Callable[..., Any]:
    """Let a function of one seed take and return trees whose leading axis is that of the seeds."""
    if num_seeds > 1:
        return jax.vmap(function)

    def one(*arguments: Any) -> Any:
        # Not by vmap, which would turn every branch into both of its sides.
        return jax.tree.map(lambda leaf: leaf[None], function(*jax.tree.map(lambda leaf: leaf[0], arguments)))

    return one


@functools.lru_cache(maxsize=4)
def _programs(config: Config[Any], env: Environment[Any, Any], layout: Layout, at_once: int) -> _Programs:
    """Return the programs of a config, whatever its seeds: runs of one process, one after the other, share them."""
    algorithm = config.algorithm
    params, structure = eqx.partition(config.network_shapes(), lambda leaf: isinstance(leaf, jax.ShapeDtypeStruct))

    def task(key: PRNGKeyArray, shard: Shard) -> Task:
        return Task(env, env.default_params, structure, key, shard)

    def init(params: Any, key: PRNGKeyArray) -> Any:
        return algorithm.init(params, task(key, layout.shard))

    def update(learner: Any, key: PRNGKeyArray) -> tuple[Any, Metrics]:
        return algorithm.update(learner, task(key, layout.shard))

    whole = jax.eval_shape(lambda params, key: algorithm.init(params, task(key, Shard())), params, _keys([0])[0])
    kind = type(whole)
    return _Programs(
        layout.init(over_seeds(init, at_once), kind), layout.update(over_seeds(update, at_once), kind), structure, whole
    )


class _Recent:
    """The mean return of the last hundred or so episodes, for people to watch."""

    def __init__(self) -> None:
        self._kept: list[tuple[float, float]] = []

    def add(self, every: list[dict[str, float]]) -> str:
        self._kept += [(told["episodes"], told["mean_return"]) for told in every if told["episodes"]]
        while len(self._kept) > 1 and sum(count for count, _ in self._kept[1:]) >= 100:
            del self._kept[0]
        if not self._kept:
            return "no episode has ended yet"
        episodes = sum(count for count, _ in self._kept)
        return f"return {sum(count * total for count, total in self._kept) / episodes:.3f}"


def _complain(learners: list[Any], meta: dict[str, Any]) -> str | None:
    """Say what is wrong with the metadata of a checkpoint, if anything is."""
    updates, seconds = meta.get("updates"), meta.get("seconds")
    if type(updates) is not int or any(int(learner.updates) != updates for learner in learners):
        return f"its metadata say {updates!r} updates, its learners {int(learners[0].updates)}"
    if not isinstance(seconds, int | float) or not 0 <= seconds < math.inf:
        return f"its metadata say that it took {seconds!r} seconds"
    if not isinstance(meta.get("config"), dict):
        return "its metadata lack the config"
    return None


def _versions() -> dict[str, str]:
    versions = {name: importlib.metadata.version(name) for name in _PACKAGES}
    return {"popgym-arcade": popgym_arcade.__version__} | versions


def _keys(seeds: Sequence[int]) -> Key[Array, "seeds"]:
    return jnp.stack([jax.random.fold_in(jax.random.key(seed), 1) for seed in seeds])


@contextmanager
def _full_disk_explained(folder: pathlib.Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        what = f"{error.filename or folder} cannot be written: {error.strerror}"
        raise OSError(f"{what}; make room, then train --resume {folder} goes on") from None


@contextmanager
def _stop_signals() -> Iterator[list[int]]:
    """Collect signals that ask to stop, so that an update ends and a checkpoint is written; Ctrl-C again stops at once."""
    came: list[int] = []

    def take(number: int, frame: Any) -> None:
        # The others come twice by themselves: a shell and the system both tell of a lost terminal.
        if came and number == signal.SIGINT:
            raise KeyboardInterrupt
        came.append(number)

    # Python lets only the main thread take signals.
    is_main = threading.current_thread() is threading.main_thread()
    numbers = [signal.SIGINT, signal.SIGTERM] if is_main else []
    if is_main and hasattr(signal, "SIGHUP") and signal.getsignal(signal.SIGHUP) is not signal.SIG_IGN:  # as under nohup
        numbers.append(signal.SIGHUP)
    before = {number: signal.signal(number, take) for number in numbers}
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
