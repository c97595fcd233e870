"""Sweeps: a list of commands, each of which trains an agent and can be given again.

There is one for every environment, view, memory and seed, and for every value of the options that are varied.
"""

import concurrent.futures
import dataclasses
import itertools
import os
import pathlib
import shlex
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

import popgym_arcade
from popgym_arcade import files, scores, terminal
from popgym_arcade.baselines.model.memory import SMALL, checked_name
from popgym_arcade.baselines.training import command, logs, run, slurm
from popgym_arcade.baselines.training import config as configs
from popgym_arcade.environment import view_name

LIST, OUTPUT = "commands.txt", "output"
_OWN = ("--env-id", "--view", "--memory", "--seed", "--run", "--resume", "--config")
"""The options of `train` that a sweep gives itself."""


class Choice(NamedTuple):
    """What the runs of some seeds have in common."""

    env_id: str
    partial_obs: bool
    memory: str
    settings: tuple[tuple[str, str], ...]
    """The options that are varied, without dashes in front, and their values."""

    @property
    def agent(self) -> str:
        """The memory, and the settings."""
        return " ".join([self.memory, *(f"{name}={value}" for name, value in self.settings)])


@dataclasses.dataclass(frozen=True)
class Sweep:
    """A sweep.

    Raises:
        SystemExit: if `rest` holds an option that `train` does not have, after an explanation.
        ValueError: if a name is unknown, `rest` says what the sweep says itself, or runs share seeds.
    """

    algorithm: str
    env_ids: Sequence[str]
    views: Sequence[bool]
    """Whether to train in the POMDP: False, True, or both."""
    memories: Sequence[str]
    seeds: Sequence[int]
    folder: pathlib.Path
    rest: Sequence[str] = ()
    """More options for every command; with --num-seeds each trains so many seeds, from its own on."""
    varied: Mapping[str, Sequence[str]] = dataclasses.field(default_factory=dict)
    """Values of further options of `train`, by their names without dashes in front, such as {"layers": ["1", "2"]}."""
    num_seeds: int = dataclasses.field(default=1, init=False)
    """The seeds of each run."""

    def __post_init__(self) -> None:
        """Check names and options, before hours are spent."""
        for env_id in self.env_ids:
            popgym_arcade.make(env_id)
        object.__setattr__(self, "memories", [checked_name(memory, SMALL) for memory in self.memories])
        varied = {name.lstrip("-").replace("_", "-"): values for name, values in self.varied.items()}
        object.__setattr__(self, "varied", varied)
        said = [*_OWN]
        if "num-seeds" in varied:
            raise ValueError("--num-seeds cannot be varied: it is no setting of an agent")
        for option in (*(f"--{name}" for name in varied), *self.rest):
            name = option.partition("=")[0].replace("_", "-")
            if name in said:
                raise ValueError(f"{option} is said by the sweep itself")
            if name.lstrip("-") in varied:
                said.append(name)
        for folder, words in self.commands.items():
            asked = command.parse(words[2:]).agent
            object.__setattr__(self, "num_seeds", asked.num_seeds)
            found = configs.read_config(folder / run.CONFIG) if (folder / run.CONFIG).is_file() else asked
            if changed := asked.differences(found.to_dict()):
                raise ValueError(
                    f"{folder} was trained with another {', '.join(changed)}; give the options of this "
                    "sweep again, those after -- too, or choose another --folder"
                )

        if len({*self.seeds}) < len(self.seeds):
            raise ValueError(f"one of the seeds {' '.join(map(str, self.seeds))} is there twice")
        if any(number - before < self.num_seeds for before, number in itertools.pairwise(sorted(self.seeds))):
            spelled = " ".join(map(str, self.seeds))
            raise ValueError(
                f"the seeds {spelled} must be --num-seeds, {self.num_seeds}, apart: each run goes on from its own"
            )

    @property
    def choices(self) -> list[Choice]:
        """All that is trained, but for seeds."""
        settings = itertools.product(*([(name, value) for value in values] for name, values in self.varied.items()))
        return list(itertools.starmap(Choice, itertools.product(self.env_ids, self.views, self.memories, settings)))

    @property
    def commands(self) -> dict[pathlib.Path, list[str]]:
        """The command of each run, by its folder."""
        found = {}
        for choice, seed in itertools.product(self.choices, self.seeds):
            folder, view = self._folder(choice, seed), view_name(choice.partial_obs).lower()
            words = ["popgym-arcade", "train", self.algorithm, "--env-id", choice.env_id, "--view", view]
            words += ["--memory", choice.memory, "--seed", str(seed)]
            words += [word for name, value in choice.settings for word in (f"--{name}", value)]
            found[folder] = [*words, *self.rest, "--run", str(folder), "--resumable"]
        return found

    def write_list(self) -> pathlib.Path:
        """Write the commands, a line each."""
        path = self.folder / LIST
        files.write_whole(path, "".join(shlex.join(words) + "\n" for words in self.commands.values()).encode())
        return path

    @property
    def waiting(self) -> dict[pathlib.Path, list[str]]:
        """The commands of the runs that are not finished."""
        return {folder: words for folder, words in self.commands.items() if not run.is_finished(folder)}

    def check_ready(self) -> None:
        """See that what is not finished can be run.

        Raises:
            BlockingIOError: if another process trains one of the runs.
            ModuleNotFoundError: if Weights & Biases are asked for and missing.
        """
        for folder, words in self.waiting.items():
            if command.parse(words[2:]).output.wandb:
                logs.wandb()
            if (folder / run.LOCK).exists():
                with run.alone(folder):
                    pass

    def run(self, jobs: int) -> int:
        """Run what is not finished, some at once, and show the table; return 1 if a command failed, else 0."""
        waiting = self.waiting
        failed = []
        done = len(self.commands) - len(waiting)
        with terminal.Progress() as progress:
            progress(f"{done} of {len(self.commands)} finished")
            with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
                futures = {pool.submit(self._run_one, folder, words): folder for folder, words in waiting.items()}
                try:
                    for future in concurrent.futures.as_completed(futures):
                        folder = futures[future]
                        if future.result():
                            failed.append(folder)
                        else:
                            done += 1
                        outcome = "failed" if future.result() else "finished"
                        progress(f"{done} of {len(self.commands)} finished; {folder.name} {outcome}")
                except KeyboardInterrupt:
                    pool.shutdown(wait=False, cancel_futures=True)
                    raise
        print(self.table())
        for folder in failed:
            print(f"failed: {folder}; its output is in {self._output(folder)}")
        return 1 if failed else 0

    def write_script(self, jobs: int | None, options: Sequence[str]) -> pathlib.Path:
        """Write a script for SLURM that runs what is not finished as an array of jobs; see `slurm.write_script`.

        Raises:
            ValueError: if all is finished.
        """
        waiting = self.waiting
        lines = [number for number, folder in enumerate(self.commands, 1) if folder in waiting]
        if not lines:
            raise ValueError(f"all runs in {self.folder} are finished: there is nothing to submit")
        return slurm.write_script(self.write_list(), lines, self.folder / OUTPUT, jobs, options)

    def table(self) -> str:
        """Lay out the mean return of all that is trained over its finished seeds, and memory scores over games."""
        rows, returns = [], {}
        for choice in self.choices:
            env_id, partial_obs = choice.env_id, choice.partial_obs
            folders = [self._folder(choice, seed) for seed in self.seeds]
            means = [result["mean"] for folder in folders for result in _results(folder)]
            returns[env_id, partial_obs, choice.agent] = means
            error = np.std(means, ddof=1) / len(means) ** 0.5 if len(means) > 1 else np.nan
            rows.append(
                [
                    env_id,
                    view_name(partial_obs),
                    choice.memory,
                    *(value for _, value in choice.settings),
                    f"{len(means)} of {len(folders) * self.num_seeds}",
                    f"{np.mean(means):.3f}" if means else "",
                    f"{error:.3f}" if len(means) > 1 else "",
                    scores.told(env_id, float(np.mean(means)), partial_obs=partial_obs) if means else "",
                    f"{np.mean([_progress(folder) for folder in folders]):.0%}",
                ]
            )
        header = ["environment", "view", "memory", *self.varied, "seeds", "return", "standard error", "memory score", "done"]
        return "\n".join([terminal.table(header, rows), *scores.aggregate_lines(returns)])

    def _folder(self, choice: Choice, seed: int) -> pathlib.Path:
        name = run.name(choice.env_id, choice.partial_obs, self.algorithm, choice.memory, seed, dict(choice.settings))
        return self.folder / name

    def _output(self, folder: pathlib.Path) -> pathlib.Path:
        return self.folder / OUTPUT / f"{folder.name}.txt"

    def _run_one(self, folder: pathlib.Path, words: list[str]) -> int:
        path = self._output(folder)
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as output:
            here = [sys.executable, "-m", __name__, *words[1:]]
            with subprocess.Popen(here, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT) as child:
                return child.wait()


def _results(folder: pathlib.Path) -> list[dict[str, Any]]:
    return files.read_json(folder / run.EVALUATION)["results"] if run.is_finished(folder) else []


def _progress(folder: pathlib.Path) -> float:
    if run.is_finished(folder):
        return 1.0
    if not (folder / run.METRICS).is_file():
        return 0.0
    lines = logs.read_metrics(folder / run.METRICS)
    total = configs.read_config(folder / run.CONFIG).algorithm.total_timesteps
    return min(1.0, lines[-1]["steps"] / total) if lines else 0.0


def _main() -> int:
    """Carry out a command of a sweep, which ends as by SIGTERM if the sweep is killed: then the pipe from it is closed."""
    from popgym_arcade import cli

    def watch() -> None:
        os.read(sys.stdin.fileno(), 1)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=watch, daemon=True).start()
    return cli.main()


if __name__ == "__main__":
    sys.exit(_main())
