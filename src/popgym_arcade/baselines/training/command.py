"""The commands `popgym-arcade train` and `popgym-arcade evaluate`."""

import dataclasses
import functools
import json
import pathlib
import sys
import warnings
from collections.abc import Sequence
from typing import Any, Generic, Literal, TypeVar, cast

import numpy as np
import tyro

from popgym_arcade import checks, compile_cache, files, scores, terminal
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
class _Compiling:
    """Compiled programs."""

    compile_cache: bool = True
    """Keep them in your cache folder, and take from there what has been compiled before."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Train(Generic[A]):
    preset: Literal["paper", "cpu"] | None = None
    """Begin with the settings of the paper's code (arXiv 2503.01450), or with small ones that learn in minutes on two cores;
    all can be changed by other options."""
    config: pathlib.Path | None = None
    """Begin with the settings of a file, such as a run's config.json."""
    agent: Config[A]
    output: trainer.Options = dataclasses.field(default_factory=trainer.Options)
    processes: _Processes = dataclasses.field(default_factory=_Processes)
    compiling: _Compiling = dataclasses.field(default_factory=_Compiling)


@dataclasses.dataclass(frozen=True, kw_only=True)
class _Resume:
    resume: pathlib.Path
    """The folder of the run."""
    output: trainer.ResumeOptions = dataclasses.field(default_factory=trainer.ResumeOptions)
    processes: _Processes = dataclasses.field(default_factory=_Processes)
    compiling: _Compiling = dataclasses.field(default_factory=_Compiling)


def train(arguments: Sequence[str]) -> int:
    """Run `popgym-arcade train`."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(_USAGE, file=sys.stdout if arguments else sys.stderr)
        return 0 if arguments else 2
    if arguments[0].partition("=")[0] == "--resume":
        return _resume(arguments)
    chosen = parse(arguments)
    if chosen.compiling.compile_cache:
        compile_cache.enable()
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
    name, rest = _algorithm(arguments)
    kind = ALGORITHMS[name]
    plain = Config(env_id="", algorithm=kind())
    grammar = functools.partial(
        tyro.cli,
        cast(Any, _Train)[kind],
        prog=f"popgym-arcade train {name}",
        description=f"Train an agent by {name.upper()}. "
        "`popgym-arcade train --resume RUN` goes on with a run that was cut off.",
        args=list(rest),
        config=(tyro.conf.OmitArgPrefixes,),
    )
    # Twice: the preset, or the file, that is asked for has the defaults of all other options.
    chosen, _ = grammar(default=_Train(agent=plain), add_help=False, return_unknown_args=True)
    chosen = grammar(default=_Train(agent=_defaults(plain, chosen)))
    if not chosen.agent.env_id:
        raise ValueError("--env-id is missing: the environment, such as NavigatorEasy; popgym-arcade list shows all")
    return chosen


def _algorithm(arguments: Sequence[str]) -> tuple[str, Sequence[str]]:
    """Return the algorithm, which is the first word or that of the file named first, and the options."""
    first, *rest = arguments
    if not first.startswith("-"):
        return checks.one_of("algorithm", first, ALGORITHMS), rest
    option, _, value = first.partition("=")
    if option != "--config" or not (value or rest):
        raise ValueError(f"train what? First must come {', '.join(ALGORITHMS)}, --config FILE or --resume RUN; got {first}")
    return configs.read_config(pathlib.Path(value or rest[0])).algorithm_name, arguments


def _defaults(plain: Config[Any], chosen: _Train[Any]) -> Config[Any]:
    """Return the defaults of all options: of a file, of a preset, or of the code."""
    name = plain.algorithm_name
    if chosen.config is not None:
        if chosen.preset is not None:
            raise ValueError("--config and --preset both say what to begin with: give one of them")
        config = configs.read_config(chosen.config)
        if name != config.algorithm_name:
            raise ValueError(f"{chosen.config} is of {config.algorithm_name}, not of {name}")
        if config.other_rules:
            warnings.warn(f"{chosen.config} was made under {config.other_rules}; the new run is under today's", stacklevel=2)
        return dataclasses.replace(config, env_version=None)
    if chosen.preset is not None:
        settings = configs.preset(chosen.preset, name, chosen.agent.env_id, chosen.agent.memory)
        return configs.from_dict({"algorithm": name, "env_id": "", **settings})
    return plain


def _resume(arguments: Sequence[str]) -> int:
    chosen = tyro.cli(
        _Resume,
        prog="popgym-arcade train",
        description="Go on with a run. What it trains is in its config.json, and cannot be changed.",
        args=list(arguments),
        config=(tyro.conf.OmitArgPrefixes,),
    )
    if chosen.compiling.compile_cache:
        compile_cache.enable()
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
    config = configs.read_config(run.find(folder) / run.CONFIG)
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
