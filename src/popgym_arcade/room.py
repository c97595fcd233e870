"""Whether there is room in memory: what does not fit is refused before it is made."""

import pathlib

import jax


def check(what: str, need: float, of_it: str = "") -> None:
    """See that something fits into the memory of a device, as far as it tells how much is free.

    Args:
        what: needs it.
        need: how many bytes.
        of_it: said after the size, what it is for.

    Raises:
        MemoryError: if it does not fit.
    """
    device = jax.local_devices()[0]
    stats = device.memory_stats()
    free = stats["bytes_limit"] - stats["bytes_in_use"] if stats else _available()  # a CPU's is that of all
    if free is not None and need > free:
        raise MemoryError(f"{what} needs {size(need)} of memory{of_it}; only {size(free)} are free")


def check_frames(num_envs: int, obs_size: int) -> None:
    """See that the frames of a batch fit into memory, beside those of the step before; see `check`."""
    check(f"playing {num_envs} environments at {obs_size} px", 2 * num_envs * obs_size**2 * 3)


def size(count: float) -> str:
    """Spell a number of bytes."""
    return f"{count / 1e9:,.1f} GB" if count >= 1e8 else f"{count / 1e6:.1f} MB"


def _available() -> int | None:
    """The bytes of memory that are free, or hold what could be read again; None where that is not known."""
    known = pathlib.Path("/proc/meminfo")
    for line in known.read_text().splitlines() if known.exists() else []:
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None
