"""Where metrics go: JSON lines always; TensorBoard and Weights & Biases where wanted."""

import importlib
import json
import math
import pathlib
from typing import Any, Protocol

from popgym_arcade import files


class Log(Protocol):
    """Takes metrics."""

    def write(self, seed: int, steps: int, metrics: dict[str, float]) -> None:
        """Take what an update of a seed has led to; a metric that is nan is not known."""

    def close(self) -> None:
        """Bring all to the disk, or to where it goes."""


class JsonLines:
    """A line per update and seed; metrics that are not known are null."""

    def __init__(self, path: pathlib.Path, steps: int) -> None:
        """Open the file, and leave out what a run that is resumed wrote after so many steps."""
        if path.exists():
            kept = [line for line in path.read_text().splitlines(keepends=True) if _steps(line) <= steps]
            files.write_whole(path, "".join(kept).encode())
        self._file = path.open("a", buffering=1)

    def write(self, seed: int, steps: int, metrics: dict[str, float]) -> None:
        """See `Log`."""
        known = {name: None if math.isnan(value) else value for name, value in metrics.items()}
        self._file.write(json.dumps({"seed": seed, "steps": steps, **known}) + "\n")

    def close(self) -> None:
        """See `Log`."""
        self._file.close()


class TensorBoard:
    """A folder of event files per seed."""

    def __init__(self, folder: pathlib.Path, seeds: tuple[int, ...], steps: int) -> None:
        """Open the files; what a run that is resumed wrote after so many steps is hidden."""
        from tensorboardX import SummaryWriter

        self._writers: dict[int, Any] = {
            seed: SummaryWriter(str(folder / f"seed-{seed}"), purge_step=steps + 1 if steps else None) for seed in seeds
        }

    def write(self, seed: int, steps: int, metrics: dict[str, float]) -> None:
        """See `Log`."""
        for name, value in metrics.items():
            if not math.isnan(value):
                self._writers[seed].add_scalar(name, value, steps)

    def close(self) -> None:
        """See `Log`."""
        for writer in self._writers.values():
            writer.close()


class Wandb:
    """A run of Weights & Biases; WANDB_MODE=offline keeps it on this machine."""

    def __init__(self, project: str, run: pathlib.Path, config: dict[str, Any]) -> None:
        """Begin, or go on with, the run.

        Raises:
            ModuleNotFoundError: if wandb is missing.
        """
        try:
            wandb: Any = importlib.import_module("wandb")
        except ModuleNotFoundError:
            raise ModuleNotFoundError("--wandb needs Weights & Biases: pip install wandb") from None
        name = run.resolve().name
        self._run: Any = wandb.init(project=project, name=name, id=name, resume="allow", dir=str(run), config=config)

    def write(self, seed: int, steps: int, metrics: dict[str, float]) -> None:
        """See `Log`."""
        known = {f"seed-{seed}/{name}": value for name, value in metrics.items() if not math.isnan(value)}
        self._run.log({"steps": steps, **known})

    def close(self) -> None:
        """See `Log`."""
        self._run.finish()


def read(path: pathlib.Path) -> list[dict[str, Any]]:
    """Read what `JsonLines` wrote; a last line that was cut off is left out."""
    return [json.loads(line) for line in path.read_text().splitlines(keepends=True) if _steps(line) < math.inf]


def _steps(line: str) -> float:
    # A killed process leaves half a line behind.
    return json.loads(line)["steps"] if line.endswith("}\n") else math.inf
