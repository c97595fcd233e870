"""Files that are written whole or not at all."""

import contextlib
import os
import pathlib
import tempfile
from collections.abc import Iterator
from typing import IO


@contextlib.contextmanager
def whole(path: pathlib.Path) -> Iterator[IO[bytes]]:
    """Open a file to write, making its folder if needed; a reader sees the old file or the new one, never a part.

    Raises:
        OSError: if it cannot be written; then, as after any other error, nothing has changed.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
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
    except BaseException as error:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(name)
        if isinstance(error, OSError) and error.errno is not None and error.filename is None:
            error.filename = str(path)
        raise


def write_whole(path: pathlib.Path, content: bytes) -> None:
    """Write a file; see `whole`."""
    with whole(path) as file:
        file.write(content)


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
