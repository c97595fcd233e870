"""What comparisons share: the package popgym-arcade 0.0.7 in a virtual environment of its own, and measuring processes."""

import json
import pathlib
import statistics
import subprocess
import venv
from typing import Any

from popgym_arcade import terminal

PACKAGES = ("popgym-arcade==0.0.7", "six")  # it needs six and does not say so
TRAINER = (
    *("popgym-arcade[baselines]==0.0.7", "memax[equinox]==0.1.1", "six"),
    *("matplotlib", "pandas", "seaborn"),  # needed by its trainers, and not declared
)
FOLDER = pathlib.Path(__file__).parent.parent / ".venv-peer"
Run = dict[str, Any]


def python(folder: pathlib.Path, packages: tuple[str, ...] = PACKAGES) -> list[str]:
    """Install the packages, as far as they are not there yet, and return how to call Python there, and nowhere else."""
    interpreter = folder / "bin" / "python"
    stamp = folder / "installed"
    if not stamp.exists():
        venv.create(folder, with_pip=True, clear=True)
    installed = stamp.read_text().splitlines() if stamp.exists() else []
    if missing := [package for package in packages if package not in installed]:
        with terminal.Progress() as progress:
            progress(f"installing {' '.join(missing)} into {folder}")
            pip = [interpreter, "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
            subprocess.run([*pip, *missing], check=True)
        stamp.write_text("\n".join([*installed, *missing, ""]))
    return [str(interpreter), "-I"]  # PYTHONPATH may lead to this package, which has the same name


def run(command: list[str]) -> Run:
    """Measure in a process of its own, whose last line is JSON.

    Raises:
        SystemExit: if it fails.
    """
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise SystemExit(f"{' '.join(command)} failed:\n{done.stderr[-2000:]}")
    return json.loads(done.stdout.splitlines()[-1])


def median(runs: list[Run], figure: str) -> float:
    """Return the median of a figure over the rounds."""
    return statistics.median(run[figure] for run in runs)
