"""The commands `popgym-arcade train` and `popgym-arcade evaluate`."""

import argparse
import dataclasses
import json
import pathlib
import sys
import warnings
from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeVar

import numpy as np
import tyro

from popgym_arcade import files, names, scores, terminal
from popgym_arcade.baselines.algorithm import Algorithm
from popgym_arcade.baselines.training import config as configs
from popgym_arcade.baselines.training import processes, results, run, trainer
from popgym_arcade.baselines.training.config import ALGORITHMS, Config
from popgym_arcade.environment import view_name

A = TypeVar("A", bound=Algorithm)
_USAGE = """popgym-arcade train pqn|ppo|dqn --env-id ENV_ID [options]
       popgym-arcade train --config FILE [options]
       popgym-arcade train --resume RUN [options]

Train an agent. `popgym-arcade train pqn --help` explains all options."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Processes:
    """Several processes, on one machine or many, that train together."""

    coordinator: str | None = None
    """Address and port of the first process, the same for all; or auto, under SLURM, Open MPI and Kubernetes."""
    num_processes: int | None = None
    """The number of processes."""
    process_id: int | None = None
    """Which one this is, from 0."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Train(Generic[A]):
    preset: Literal["paper", "cpu"] | None = None
    """Begin with the settings of the paper's code (arXiv 2503.01450), or with small ones that learn in minutes on two cores;
    all can be changed by other options."""
    config: pathlib.Path | None = None
    """Begin with the settings of a file, such as a run's config.json."""
    agent: Config[A]
    output: trainer.Options
    processes: _Processes


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Resume:
    resume: pathlib.Path
    """The folder of the run."""
    output: trainer.ResumeOptions
    processes: _Processes


def train(arguments: Sequence[str]) -> int:
    """Run `popgym-arcade train`."""
    if _known(arguments).resume is not None:
        return _resume(arguments)
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE, file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    chosen = parse(arguments)
    folder = chosen.output.run or trainer.default_folder(chosen.agent)
    with processes.together(folder, **dataclasses.asdict(chosen.processes)):
        trainer.train(chosen.agent, chosen.output)
    return 0


def parse(arguments: Sequence[str]) -> Any:
    """Return what the arguments of `popgym-arcade train` ask for: its `agent`, `output` and `processes`.

    Raises:
        SystemExit: if an option is unknown or has no such value, after an explanation.
        ValueError: if what they name does not exist or does not fit together.
    """
    known = _known(arguments)
    name = None if arguments[0].startswith("-") else arguments[0]
    if name is None and known.config is None:
        raise ValueError(f"train what? The first word must be {', '.join(ALGORITHMS)}, or --config FILE must be given")
    if name is not None and name not in ALGORITHMS:
        raise names.unknown("algorithm", name, ALGORITHMS)
    begin = _first_settings(name, known)
    kind = type(begin.algorithm)
    return tyro.cli(
        _Train[kind],
        prog=f"popgym-arcade train {begin.algorithm_name}",
        description=f"Train an agent by {begin.algorithm_name.upper()}. "
        "`popgym-arcade train --resume RUN` goes on with a run that was cut off.",
        args=list(arguments[1:] if name else arguments),
        default=_Train(agent=begin, output=trainer.Options(), processes=_Processes()),
        config=(tyro.conf.OmitArgPrefixes,),
    )


def _known(arguments: Sequence[str]) -> argparse.Namespace:
    """Parse the options that decide which others there are, and their defaults."""
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False, usage=argparse.SUPPRESS)
    for name in ("--preset", "--config", "--resume", "--env-id", "--memory"):
        parser.add_argument(name)
    return parser.parse_known_args(arguments)[0]


def _first_settings(name: str | None, known: argparse.Namespace) -> Config[Any]:
    """Return the defaults of all options: of a file, of a preset, or of the code; the environment may be missing."""
    env_id: Any = tyro.MISSING if known.env_id is None else known.env_id
    if known.config is not None:
        if known.preset is not None:
            raise ValueError("--config and --preset both say what to begin with: give one of them")
        config = configs.read(pathlib.Path(known.config))
        if name is not None and name != config.algorithm_name:
            raise ValueError(f"{known.config} is of {config.algorithm_name}, not of {name}")
        if config.other_rules:
            warnings.warn(f"{known.config} was made under {config.other_rules}; the new run is under today's", stacklevel=2)
        return dataclasses.replace(config, env_version=None)
    assert name is not None
    if known.preset is None:
        return Config(env_id=env_id, algorithm=ALGORITHMS[name]())
    if known.preset not in configs.PRESETS:
        raise names.unknown("preset", known.preset, configs.PRESETS)
    settings = configs.preset(known.preset, name, known.env_id or "", known.memory or "none")
    return dataclasses.replace(configs.from_dict({"algorithm": name, "env_id": "", **settings}), env_id=env_id)


def _resume(arguments: Sequence[str]) -> int:
    chosen = tyro.cli(
        _Resume,
        prog="popgym-arcade train",
        description="Go on with a run. What it trains is in its config.json, and cannot be changed.",
        args=list(arguments),
        config=(tyro.conf.OmitArgPrefixes,),
    )
    with processes.together(chosen.resume, **dataclasses.asdict(chosen.processes)):
        trainer.resume(chosen.resume, chosen.output)
    return 0


def evaluate(
    folder: pathlib.Path,
    *,
    partial_obs: bool | None,
    episodes: int,
    seeds: Sequence[int] | None,
    episode_seed: int,
    json_path: pathlib.Path | None,
) -> int:
    """Run `popgym-arcade evaluate`: play with the agents of some or all seeds, greedily, and tell what came of it."""
    if json_path is not None:
        files.check_writable(json_path)
    config = configs.read(run.find(folder) / run.CONFIG)
    models = {seed: run.load(folder, seed)[0] for seed in seeds or config.seeds}
    partial_obs = config.partial_obs if partial_obs is None else partial_obs
    played = results.returns(models, config, partial_obs, episodes, episode_seed)
    told = results.summaries(played, config.env_id, partial_obs)
    print(f"{config.title}; played in the {view_name(partial_obs)}, {episodes} episodes for each seed")
    header = ["seed", "mean return", "95 % interval", "memory score"]
    header += ["min", "5 %", "25 %", "50 %", "75 %", "95 %", "max", "steps"]
    rows = []
    for result in told:
        low, high = result["interval"]
        quantiles = [f"{value:.2f}" for value in result["quantiles"].values()]
        score = scores.told(config.env_id, result["mean"], partial_obs=partial_obs)
        figures = [f"{result['mean']:.3f}", f"{low:.3f} to {high:.3f}", score, *quantiles, f"{result['mean_length']:.1f}"]
        rows.append([str(result["seed"]), *figures])
    print(terminal.table(header, rows))
    if len(told) > 1:
        means = np.array([result["mean"] for result in told])
        error = means.std(ddof=1) / len(means) ** 0.5
        print(f"all seeds: {means.mean():.3f}, standard error over seeds {error:.3f}")
    print(f"\nreturns\n{results.histogram(np.concatenate([each.total for each in played.values()]))}")
    if json_path is not None:
        content = {"config": config.to_dict(), "results": told}
        files.write_whole(json_path, (json.dumps(content, indent=1) + "\n").encode())
        print(f"wrote {json_path}")
    return 0
