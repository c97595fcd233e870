"""The folder of a run.

config.json         what was asked for
model.eqx           the agent, by equinox; that of the first seed, those of others are model-SEED.eqx
metrics.jsonl       a line per update and seed
evaluation.json     returns of the greedy agents, and the checksums of their files
curve.png           returns while training
agent.mp4           an episode of the agent
checkpoints/        where to go on
tensorboard/        the metrics again
.lock               held by the process that trains it
"""

import contextlib
import dataclasses
import hashlib
import os
import pathlib
import warnings
from collections.abc import Iterator, Mapping
from types import MappingProxyType
from typing import Any

import equinox as eqx
import jax
import numpy as np

from popgym_arcade import files
from popgym_arcade.baselines import agents
from popgym_arcade.baselines.checkpoint import CheckpointError
from popgym_arcade.baselines.model.builder import MemoryNetwork
from popgym_arcade.baselines.training import config as configs
from popgym_arcade.baselines.training.config import Config
from popgym_arcade.environment import view_name

CONFIG, METRICS, EVALUATION, CURVE, FILM = "config.json", "metrics.jsonl", "evaluation.json", "curve.png", "agent.mp4"
CHECKPOINTS, TENSORBOARD, LOCK = "checkpoints", "tensorboard", ".lock"
# How equinox writes where a leaf is: (GetAttrKey(name='encoder'), SequenceKey(idx=1)).


def name(
    env_id: str,
    partial_obs: bool,
    algorithm: str,
    memory: str,
    seed: int,
    settings: Mapping[str, str] = MappingProxyType({}),
) -> str:
    """Return what a run's folder is called, if its user does not say; `settings` are those that a sweep varies."""
    varied = [f"{option.replace('-', '_')}{value.replace(os.sep, '_')}" for option, value in settings.items()]
    return "-".join([env_id, view_name(partial_obs).lower(), algorithm, memory, *varied, f"seed{seed}"])


def find(run: str | pathlib.Path) -> pathlib.Path:
    """Return the folder of a run, or of an agent that comes with the package, by its name.

    Raises:
        FileNotFoundError: if there is none.
    """
    folder = pathlib.Path(run)
    for candidate in (folder, agents.FOLDER / folder):
        if (candidate / CONFIG).is_file():
            return candidate
    known = ", ".join(sorted(agents.names().values()))
    raise FileNotFoundError(f"{folder} is no run: it has no {CONFIG}; agents that come with the package: {known}")


def model_path(folder: pathlib.Path, config: Config[Any], seed: int) -> pathlib.Path:
    """Return where the agent of a seed lies."""
    return folder / ("model.eqx" if seed == config.seed else f"model-{seed}.eqx")


def save_model(folder: pathlib.Path, config: Config[Any], seed: int, model: MemoryNetwork) -> None:
    """Write the agent of a seed."""
    with files.whole(model_path(folder, config, seed)) as file:
        eqx.tree_serialise_leaves(file, model)


def checksum(path: pathlib.Path) -> str:
    """Return what tells whether the file of an agent is still what was written."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def load(run: str | pathlib.Path, seed: int | None = None) -> tuple[MemoryNetwork, Config[Any]]:
    """Load a trained agent.

    Args:
        run: the folder of a run, or the name of an agent that comes with the package.
        seed: which of its seeds, by default the first.

    Returns:
        (model, config). The config is that of this agent alone, of several seeds of a run the one that was asked for.
        `config.make_env()` makes the game that it was trained in.

    Warns:
        UserWarning: if it was trained under other rules of its game than today's.

    Raises:
        CheckpointError: if the model is damaged, which its checksum tells once there is an evaluation, or does not fit the
            config.
        FileNotFoundError: if there is no such run, or its training has not ended.
        ValueError: if it has no such seed, or its config or evaluation is damaged.
    """
    folder = find(run)
    config = configs.read_config(folder / CONFIG)
    seed = config.seed if seed is None else seed
    if seed not in config.seeds:
        raise ValueError(f"{folder} has the seeds {', '.join(map(str, config.seeds))}, not {seed}")
    path = model_path(folder, config, seed)
    if not path.is_file():
        raise FileNotFoundError(f"{path} is not there: has its training ended? train --resume {folder} goes on with it")
    _check_sum(path)
    shapes = config.network_shapes()
    try:
        model = eqx.tree_deserialise_leaves(path, shapes)
    except Exception as error:  # equinox and NumPy raise whatever they meet in a damaged file
        raise CheckpointError(f"{path} is damaged or does not fit {folder / CONFIG}: {error}") from None
    if not all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(eqx.filter(model, eqx.is_inexact_array))):
        raise CheckpointError(f"{path} is damaged: it holds weights that are not finite")
    if config.other_rules:
        warnings.warn(f"{folder} was trained under {config.other_rules}", stacklevel=2)
    return model, dataclasses.replace(config, seed=seed, num_seeds=1)


def _check_sum(path: pathlib.Path) -> None:
    """Compare an agent with its checksum. There is none where training stopped before there was an evaluation."""
    evaluation = path.with_name(EVALUATION)
    if not evaluation.is_file():
        return
    try:
        known = files.read_json(evaluation)["checksums"][path.name]
    except (LookupError, TypeError):
        raise CheckpointError(f"{evaluation} is damaged: it has no checksum of {path.name}") from None
    if checksum(path) != known:
        raise CheckpointError(
            f"{path} is damaged: its checksum is not the one in {EVALUATION}; if it is deleted, "
            f"train --resume {path.parent} makes it again"
        )


@contextlib.contextmanager
def alone(folder: pathlib.Path) -> Iterator[None]:
    """Keep a run to this process, and remove what others have left that were killed.

    Raises:
        BlockingIOError: if another process trains it.
        OSError: if its folder cannot be written.
    """
    with files.lock(folder / LOCK, f"{folder} is being trained"):
        for path in leftovers(folder):
            path.unlink(missing_ok=True)
        yield


def leftovers(folder: pathlib.Path) -> list[pathlib.Path]:
    """Return the temporary files in the folder of a run. While nobody trains it, they are of writes that were cut off."""
    own = ("*.json", "*.jsonl", "*.eqx", "*.png", "*.mp4")
    found = [path for pattern in own for path in files.leftovers(folder, pattern)]
    return found + files.leftovers(folder / CHECKPOINTS, "*.npz")


def is_finished(folder: pathlib.Path) -> bool:
    """Whether training has come to its end, and all agents are there: the evaluation is written last."""
    if not (folder / EVALUATION).is_file():
        return False
    config = configs.read_config(folder / CONFIG)
    return all(model_path(folder, config, seed).is_file() for seed in config.seeds)
