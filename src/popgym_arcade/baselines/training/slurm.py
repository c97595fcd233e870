"""SLURM: the commands of a sweep as an array of jobs."""

import pathlib
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence

from popgym_arcade import files

SCRIPT = "slurm.sh"
_TEXT = """#!/bin/bash
#SBATCH --array={array}
#SBATCH --output={output}
#SBATCH --requeue
#SBATCH --signal=B:TERM@120
# Two minutes before its time is up a run writes a checkpoint; the array can be submitted again, and goes on from there.
{options}
export PATH={python}:"$PATH"
eval "exec $(sed -n "${{SLURM_ARRAY_TASK_ID}}p" {commands})"
"""


def check_options(options: Sequence[str]) -> None:
    """See that options can be handed to sbatch.

    Raises:
        ValueError: if one is none, has several lines, or is one that the script sets itself.
    """
    for option in options:
        if not option.startswith("-") or not option.isprintable():
            raise ValueError(f"an option of sbatch must begin with -, on one line, got {option!r}")
        if option.partition("=")[0].strip() in ("--array", "-a"):
            raise ValueError(f"which jobs an array has is decided by the sweep: leave out {option}")


def write_script(
    commands: pathlib.Path, lines: Sequence[int], output: pathlib.Path, jobs: int | None, options: Sequence[str]
) -> pathlib.Path:
    """Write a batch script, beside the list of commands, that runs some of its lines as an array.

    Args:
        commands: the list, a command in each line.
        lines: which of them, from 1.
        output: the folder for what the jobs say.
        jobs: how many may run at once; None for as many as SLURM likes.
        options: of sbatch, such as --gres=gpu:1.

    Returns:
        the path of the script.
    """
    array = ",".join(map(str, lines)) + (f"%{jobs}" if jobs else "")
    text = _TEXT.format(
        array=array,
        output=shlex.quote(f"{output.resolve()}/slurm-%A-%a.txt"),
        options="\n".join(f"#SBATCH {option}" for option in options),
        python=shlex.quote(str(pathlib.Path(sys.executable).parent)),
        commands=shlex.quote(str(commands.resolve())),
    )
    path = commands.with_name(SCRIPT)
    output.mkdir(parents=True, exist_ok=True)
    files.write_whole(path, text.encode())
    return path


def submit(script: pathlib.Path) -> str:
    """Submit a batch script; return what sbatch says.

    Raises:
        FileNotFoundError: if there is no sbatch.
        OSError: if it refuses.
    """
    if shutil.which("sbatch") is None:
        raise FileNotFoundError(f"there is no sbatch on this machine; where there is one: sbatch {script}")
    done = subprocess.run(["sbatch", str(script)], capture_output=True, text=True, check=False)
    if done.returncode:
        raise OSError(f"sbatch refuses {script}: {done.stderr.strip() or done.stdout.strip()}")
    return done.stdout.strip()
