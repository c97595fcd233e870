"""Compiled programs, kept on disk from one command to the next by JAX's own cache."""

import hashlib
import os
import pathlib
import platform
import sys
from typing import Any

import jax

_MOST_BYTES = 1 << 29
_LEAST_SECONDS = 0.1  # what compiles faster is not worth a file


def add_option(command: Any) -> None:
    """Add `--no-compile-cache` to a parser of argparse: the attribute `compile_cache` of its options."""
    command.add_argument(
        "--no-compile-cache",
        dest="compile_cache",
        action="store_false",
        help="do not keep compiled programs in your cache folder, and take none from there",
    )


def enable() -> None:
    """Keep compiled programs in the user's cache folder, unless JAX has been told otherwise, or it cannot be written.

    JAX writes and reads it, any number of processes at once; what it cannot read it compiles. What is oldest is removed here
    beyond half a gigabyte, as JAX itself does that only with the package filelock.
    """
    settings: Any = jax.config
    if settings.jax_compilation_cache_dir or not settings.jax_enable_compilation_cache:
        return
    path = folder()
    try:
        path.mkdir(parents=True, exist_ok=True)
        _prune(path)
    except OSError:
        return
    if not os.access(path, os.W_OK):
        return
    jax.config.update("jax_compilation_cache_dir", str(path))
    jax.config.update("jax_persistent_cache_min_compile_time_secs", _LEAST_SECONDS)


def folder() -> pathlib.Path:
    """Return where compiled programs are kept: a folder for each kind of processor, as homes are shared among machines."""
    if sys.platform == "win32":
        caches = os.environ.get("LOCALAPPDATA") or pathlib.Path.home() / "AppData" / "Local"
    elif sys.platform == "darwin":
        caches = pathlib.Path.home() / "Library" / "Caches"
    else:
        caches = os.environ.get("XDG_CACHE_HOME") or pathlib.Path.home() / ".cache"
    kind = hashlib.sha256(_processor().encode()).hexdigest()[:12]
    return pathlib.Path(caches) / "popgym-arcade" / f"{platform.machine()}-{kind}"


def _processor() -> str:
    """Describe what a program is compiled for: the instructions that the processor has, where the system tells them."""
    try:
        lines = pathlib.Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor()
    return next((line for line in lines if line.startswith(("flags", "Features"))), platform.processor())


def _prune(path: pathlib.Path) -> None:
    found = []
    for file in path.iterdir():
        try:
            found.append((file.stat().st_mtime, file.stat().st_size, file))
        except FileNotFoundError:  # another process is at it, too
            continue
    kept = 0
    for _, size, file in sorted(found, reverse=True):
        kept += size
        if kept > _MOST_BYTES:
            file.unlink(missing_ok=True)
