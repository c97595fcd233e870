"""Files that are written whole or not at all."""

import contextlib
import errno
import json
import os
import pathlib
import platform
import tempfile
from collections.abc import Iterable, Iterator
from typing import IO, Any


@contextlib.contextmanager
def whole(path: pathlib.Path) -> Iterator[IO[bytes]]:
    """Open a file to write, making its folder if needed; a reader sees the old file or the new one, never a part.

    Once it is written it is on the disk, and so is its name. A process that is killed meanwhile leaves a temporary file
    beside it, see `leftovers`.

    Raises:
        OSError: if it cannot be written; then, as after any other error, nothing has changed.
    """
    with naming(path):
        _make_folder(path.parent)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with os.fdopen(handle, "wb") as file:
                yield file
                file.flush()
                os.fsync(file.fileno())
            mask = os.umask(0)
            os.umask(mask)
            os.chmod(name, 0o666 & ~mask)
            os.replace(name, path)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(name)
            raise
        sync_folder(path.parent)


@contextlib.contextmanager
def naming(path: pathlib.Path) -> Iterator[None]:
    """Let the errors of the system within name a file, where they name none."""
    try:
        yield
    except OSError as error:
        if error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def within(paths: Iterable[pathlib.Path], pattern: str) -> list[pathlib.Path]:
    """Return files: those that are named, and those in the folders that are, whose names fit a pattern, in their order."""
    return [file for path in paths for file in (sorted(path.glob(pattern)) if path.is_dir() else [path])]


def leftovers(folder: pathlib.Path, pattern: str) -> list[pathlib.Path]:
    """The temporary files of writes into a folder, or of such as go on, to files of names like `*.json`."""
    return list(folder.glob(f".{pattern}.????????"))  # eight characters are chosen by tempfile


def sync_folder(folder: pathlib.Path) -> None:
    """Bring the names in a folder to the disk, where the system can: a file that is lost by name is lost."""
    if os.name != "posix":
        return
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno != errno.EINVAL:  # some network file systems cannot
            raise
    finally:
        os.close(handle)


def _make_folder(folder: pathlib.Path) -> None:
    if not folder.is_dir():
        _make_folder(folder.parent)
        folder.mkdir(exist_ok=True)
        sync_folder(folder.parent)


def write_whole(path: pathlib.Path, content: bytes) -> None:
    """Write a file; see `whole`."""
    with whole(path) as file:
        file.write(content)


@contextlib.contextmanager
def lock(path: pathlib.Path, what: str) -> Iterator[None]:
    """Hold a file, making it and its folder if needed, so that no other process can; the end of this one frees it.

    Windows and some network file systems have no such locks: there nothing is held.

    Args:
        path: the file.
        what: is said of the process that holds it: "... by process 123 on HOST".

    Raises:
        BlockingIOError: if a process holds it.
        OSError: if it cannot be written.
    """
    if os.name != "posix":
        yield
        return
    import fcntl

    _make_folder(path.parent)
    with path.open("a+") as file:
        with naming(path):
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                file.seek(0)
                raise BlockingIOError(f"{what} by {file.read() or 'another process'}") from None
            except OSError as error:
                if error.errno not in (errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP):
                    raise
            file.truncate(0)
            file.write(f"process {os.getpid()} on {platform.node()}")
            file.flush()
        yield


def read_json(path: pathlib.Path) -> Any:
    """Read a JSON file.

    Raises:
        OSError: if it cannot be read.
        ValueError: if it is damaged.
    """
    try:
        return json.loads(path.read_bytes())
    except (ValueError, RecursionError) as error:
        raise ValueError(f"{path} is damaged: {error}") from None


def check_writable(path: pathlib.Path) -> None:
    """See that a new file can be written, in a folder that may have to be made; write nothing.

    Raises:
        OSError: if not.
    """
    if path.exists():
        raise FileExistsError(f"{path} exists already; choose another name")
    check_folder(path)


def check_folder(path: pathlib.Path) -> None:
    """See that a file can be written or replaced, in a folder that may have to be made; write nothing.

    Raises:
        OSError: if not.
    """
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder")
    folder = next(parent for parent in path.absolute().parents if parent.exists())
    try:
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        error.filename = str(path)
        raise
