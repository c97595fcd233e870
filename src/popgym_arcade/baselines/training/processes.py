"""Several processes that train one run: how they meet, and how the others end when one is lost.

JAX aborts a process that has lost another one, and native code prints its stack. So what native code writes to stderr is
passed on a moment later, and at such an abort a line takes its place.
"""

import atexit
import contextlib
import ctypes
import os
import pathlib
import re
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from typing import NoReturn

import jax

from popgym_arcade import checks

_HEARTBEAT_SECONDS = 20
_HELD_SECONDS = 1.0
_ABORTED = b"JAX distributed service detected fatal errors"
_FAILED = re.compile("gloo|nccl|coordination service", re.IGNORECASE)
"""What is named where processes do not reach each other."""


@contextlib.contextmanager
def together(
    folder: pathlib.Path, coordinator: str | None, num_processes: int | None, process_id: int | None
) -> Iterator[None]:
    """Join the other processes of a run, before JAX is used. If one is lost, this one ends, with a line that says so.

    Args:
        folder: that of the run.
        coordinator: address and port of the first process, the same for all; "auto" leaves everything to JAX, which knows
            SLURM, Open MPI, Kubernetes and cloud TPUs; None: this process is alone.
        num_processes: how many there are.
        process_id: which one this is, from 0.

    Raises:
        ConnectionError: if they do not meet.
        ValueError: if there can be no such address, or the three do not fit together.
    """
    if coordinator is None:
        if num_processes is not None or process_id is not None:
            raise ValueError("--num-processes and --process-id are for several processes: they need --coordinator")
        yield
        return
    if coordinator != "auto":
        _check(coordinator, num_processes, process_id)
    apart = f"the processes do not meet at {coordinator}"
    others = _Others(apart)
    try:
        try:
            jax.distributed.initialize(
                None if coordinator == "auto" else coordinator,
                num_processes,
                process_id,
                heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
            )
        except RuntimeError as error:
            raise ConnectionError(f"{apart}: {str(error).partition(chr(10))[0]}") from None
        others.loss = f"another process that trains {folder} is lost; train --resume {folder} goes on"
        yield
    except BaseException as error:
        if isinstance(error, RuntimeError | ValueError) and _FAILED.search(str(error)):
            others.lost()
        if not (isinstance(error, KeyboardInterrupt) and error.args):  # all have agreed to stop
            others.leave()
        raise


def _check(coordinator: str, num_processes: int | None, process_id: int | None) -> None:
    host, _, port = coordinator.rpartition(":")
    if not (host and port.isdecimal() and 0 < int(port) < 1 << 16):
        raise ValueError(f"--coordinator must be HOST:PORT, or auto, got {coordinator!r}")
    if num_processes is None or process_id is None:
        raise ValueError("--coordinator HOST:PORT needs --num-processes and --process-id")
    checks.in_range("--num-processes", num_processes, 1)
    checks.in_range("--process-id", process_id, 0, num_processes - 1)


class _Others:
    """Stands between this process and the loss of others, until it ends: they can be lost at its very end, too."""

    def __init__(self, loss: str) -> None:
        self.loss = loss
        """What to say if they are lost."""
        self._lock = threading.Lock()
        self._told = 0
        sys.stderr.flush()
        self._stderr = os.dup(2)
        # Python's own lines are not held back.
        sys.stderr = open(self._stderr, "w", buffering=1, errors="backslashreplace", closefd=False)  # noqa: SIM115  # open to the end
        self._held = tempfile.TemporaryFile()  # noqa: SIM115  # open to the end
        os.dup2(self._held.fileno(), 2)
        threading.Thread(target=self._pass_on, daemon=True).start()
        atexit.register(self._tell)
        if os.name == "posix":
            # Not by Python's signal module: its handlers would wait for the main thread, and this one must not return.
            self._handler = ctypes.CFUNCTYPE(None, ctypes.c_int)(self._aborted)
            ctypes.CDLL(None).signal(int(signal.SIGABRT), self._handler)

    def lost(self) -> NoReturn:
        """Say that another process is lost, and end: what waits for it would wait for ever."""
        self._lock.acquire()  # for good: two threads may find out
        os.write(self._stderr, f"popgym-arcade: {self.loss}\n".encode())
        os._exit(1)

    def leave(self) -> None:
        """Let this process, when it ends, not wait for the others: they wait for it."""
        atexit.register(self._leave)

    def _leave(self) -> NoReturn:
        sys.stdout.flush()
        self._tell()
        os._exit(1)

    def _aborted(self, number: int) -> None:
        if _ABORTED in os.pread(self._held.fileno(), self._size() - self._told, self._told):
            os.write(self._stderr, b"\n")  # below the progress bar
            self.lost()
        self._tell()

    def _pass_on(self) -> None:
        while True:
            size = self._size()
            time.sleep(_HELD_SECONDS)
            self._tell(size)

    def _tell(self, size: int | None = None) -> None:
        """Pass on what was held back, all of it or the first so many bytes of all."""
        with self._lock:
            content = os.pread(self._held.fileno(), (self._size() if size is None else size) - self._told, self._told)
            os.write(self._stderr, content)
            self._told += len(content)

    def _size(self) -> int:
        return os.fstat(self._held.fileno()).st_size
