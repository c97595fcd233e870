"""Logs of metrics: JSON lines always; TensorBoard and Weights & Biases where wanted."""

import importlib
import json
import math
import os
import pathlib
import sys
import time
from collections.abc import Sequence
from typing import Any, Protocol, runtime_checkable

from popgym_arcade import files


@runtime_checkable
class Log(Protocol):
    """Takes metrics."""

    def write(self, seed: int, steps: int, metrics: dict[str, float]) -> None:
        """Take what an update of a seed has led to; a metric that is nan is not known."""

    def sync(self) -> None:
        """Bring all to the disk, or to where it goes, before a checkpoint relies on it."""

    def close(self) -> None:
        """Do so for the last time."""


class JsonLines:
    """A line per update and seed; metrics that are not known are null."""

    def __init__(self, path: pathlib.Path, steps: int, count: int) -> None:
        """Open the file, and mend it: of what a run that is resumed wrote keep what can be read, and say if lines are lost.

        Args:
            path: where.
            steps: after how many the run goes on; later lines are left out.
            count: how many lines it wrote up to then.
        """
        kept = []
        if path.exists():
            with path.open("rb") as file:
                kept = [line for line in file if (told := _parse(line)) and told["steps"] <= steps]
            files.write_whole(path, b"".join(kept))
        if len(kept) < count:
            print(f"popgym-arcade: {path}: {count - len(kept)} of {count} lines are damaged or lost", file=sys.stderr)
        self._path, self._file = path, path.open("ab")
        files.sync_folder(path.parent)

    def write(self, seed: int, steps: int, metrics: dict[str, float]) -> None:
        """See `Log`."""
        known = {name: None if math.isnan(value) else value for name, value in metrics.items()}
        with files.naming(self._path):
            self._file.write(json.dumps({"seed": seed, "steps": steps, **known}).encode() + b"\n")
            self._file.flush()  # for those who look on

    def sync(self) -> None:
        """See `Log`."""
        with files.naming(self._path):
            self._file.flush()
            os.fsync(self._file.fileno())

    def close(self) -> None:
        """See `Log`."""
        with files.naming(self._path), self._file:
            self.sync()


class TensorBoard:
    """A folder of event files per seed. They are written here and now: tensorboardX's thread would hang on a full disk."""

    def __init__(self, folder: pathlib.Path, seeds: Sequence[int], steps: int) -> None:
        """Open the files; what a run that is resumed wrote after so many steps is hidden."""
        from tensorboardX.event_file_writer import EventsWriter
        from tensorboardX.proto import event_pb2, summary_pb2

        events: Any = event_pb2
        summaries: Any = summary_pb2
        self._folder, self._event, self._summary = folder, events.Event, summaries.Summary
        self._writers: dict[int, Any] = {}
        for seed in seeds:
            own = folder / f"seed-{seed}"
            own.mkdir(parents=True, exist_ok=True)
            self._writers[seed] = EventsWriter(str(own / "events"))
            if steps:
                self._write(seed, steps + 1, session_log=events.SessionLog(status=events.SessionLog.START))

    def write(self, seed: int, steps: int, metrics: dict[str, float]) -> None:
        """See `Log`."""
        known = {name: value for name, value in metrics.items() if not math.isnan(value)}
        values = [self._summary.Value(tag=name, simple_value=value) for name, value in known.items()]
        self._write(seed, steps, summary=self._summary(value=values))

    def _write(self, seed: int, steps: int, **content: Any) -> None:
        with files.naming(self._folder):
            self._writers[seed].write_event(self._event(wall_time=time.time(), step=steps, **content))

    def sync(self) -> None:
        """See `Log`."""
        with files.naming(self._folder):
            for writer in self._writers.values():
                writer.flush()

    def close(self) -> None:
        """See `Log`."""
        with files.naming(self._folder):
            for writer in self._writers.values():
                writer.close()


class Wandb:
    """A run of Weights & Biases; WANDB_MODE=offline keeps it on this machine."""

    def __init__(self, project: str, run: pathlib.Path, config: dict[str, Any]) -> None:
        """Begin, or go on with, the run.

        Raises:
            ModuleNotFoundError: if wandb is missing.
        """
        name = run.resolve().name
        self._run: Any = wandb().init(project=project, name=name, id=name, resume="allow", dir=str(run), config=config)

    def write(self, seed: int, steps: int, metrics: dict[str, float]) -> None:
        """See `Log`."""
        known = {f"seed-{seed}/{name}": value for name, value in metrics.items() if not math.isnan(value)}
        self._run.log({"steps": steps, **known})

    def sync(self) -> None:
        """See `Log`; a process of its own does it all the time."""

    def close(self) -> None:
        """See `Log`."""
        self._run.finish()


def wandb() -> Any:
    """Return the module of Weights & Biases.

    Raises:
        ModuleNotFoundError: if it is missing.
    """
    try:
        return importlib.import_module("wandb")
    except ModuleNotFoundError:
        raise ModuleNotFoundError("--wandb needs Weights & Biases: pip install wandb") from None


def read_metrics(path: pathlib.Path) -> list[dict[str, Any]]:
    """Read what `JsonLines` wrote; lines that are damaged, or were cut off, are left out."""
    with path.open("rb") as file:
        return [told for line in file if (told := _parse(line))]


def _parse(line: bytes) -> dict[str, Any] | None:
    """Return the metrics of a line; None, if it is damaged: a killed process leaves half a line behind, a disk anything."""
    try:
        told = json.loads(line)
        numbers = [told["seed"], told["steps"], told["episodes"], told["mean_return"] if told["episodes"] else 0]
        is_good = all(type(number) in (int, float) and math.isfinite(number) for number in numbers) and told["steps"] > 0
    except (ValueError, TypeError, LookupError, OverflowError, RecursionError):
        return None
    return told if is_good and line.endswith(b"\n") else None
