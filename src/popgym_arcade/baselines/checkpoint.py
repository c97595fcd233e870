"""Checkpoints: a pytree of arrays and what it belongs to, in one file that is safe to read.

The file is a NumPy archive (`.npz`): an array per leaf, under the leaf's path in the tree, and `meta`, JSON. Nothing in it
is executed when it is read, and every array carries a checksum. What it says of names and sizes is compared with its own
size, and with what is wanted, before an array is read. Files are written whole or not at all.
"""

import contextlib
import json
import math
import os
import pathlib
import re
import zipfile
from collections.abc import Callable, Iterator
from typing import Any, TypeVar

import jax
import jax.numpy as jnp
import numpy as np

from popgym_arcade import files

Tree = TypeVar("Tree")
_META = "meta"
_NAME = "{:012d}.npz"


class CheckpointError(ValueError):
    """A file is no checkpoint, is damaged, or belongs to something else."""


def save(path: pathlib.Path, tree: Any, meta: dict[str, Any]) -> None:
    """Write a checkpoint.

    Args:
        path: where.
        tree: a pytree of arrays and numbers; random keys are welcome.
        meta: what it belongs to, fit for JSON.

    Raises:
        OSError: if it cannot be written; then nothing has changed.
    """
    arrays = {_META: np.frombuffer(json.dumps(meta).encode(), np.uint8)}
    arrays |= {name: np.asarray(_raw(leaf)) for name, leaf in _leaves(tree)}
    with files.whole(path) as file:
        np.savez(file, allow_pickle=False, **arrays)


def read_meta(path: pathlib.Path) -> dict[str, Any]:
    """Return what a checkpoint belongs to.

    Raises:
        CheckpointError: if it is none, or damaged.
        FileNotFoundError: if it is not there.
    """
    with _opened(path) as archive:
        if _META not in _kinds(archive):
            raise ValueError("it has no metadata")
        meta = json.loads(_array(archive, _META).tobytes())
        if not isinstance(meta, dict):
            raise ValueError("its metadata are no JSON object")
    return meta


def load(path: pathlib.Path, like: Tree) -> Tree:
    """Read a checkpoint.

    Args:
        path: where.
        like: a pytree of the same structure, shapes and dtypes.

    Raises:
        CheckpointError: if it is none, is damaged, or does not fit; it says what does not.
        FileNotFoundError: if it is not there.
    """
    leaves = dict(_leaves(like))
    needed = {name: _kind(_raw(leaf)) for name, leaf in leaves.items()}
    with _opened(path) as archive:
        found = _kinds(archive)
        found.pop(_META, None)
        for name in sorted(needed.keys() ^ found.keys()):
            which = "lacks" if name in needed else "has, and should not have,"
            raise CheckpointError(f"{path} belongs to something else: it {which} {name}")
        for name, kind in needed.items():
            if found[name] != kind:
                raise CheckpointError(f"{path} belongs to something else: {name} is {found[name]} instead of {kind}")
        read = [_like(leaf, _array(archive, name)) for name, leaf in leaves.items()]
    return jax.tree.unflatten(jax.tree.structure(like), read)


def save_step(folder: pathlib.Path, step: int, tree: Any, meta: dict[str, Any], keep: int = 2) -> pathlib.Path:
    """Write the checkpoint of a step, and delete all but the newest ones up to this step.

    Those of later steps were damaged, as the run has gone on from an earlier one.
    """
    path = folder / _NAME.format(step)
    save(path, tree, meta)
    found = steps(folder)
    end = found.index(path) + 1
    for other in found[: max(0, end - keep)] + found[end:]:
        other.unlink(missing_ok=True)
    return path


def steps(folder: pathlib.Path) -> list[pathlib.Path]:
    """The checkpoints of a folder, oldest first."""
    found = folder.glob("*.npz") if folder.is_dir() else []
    return sorted(path for path in found if re.fullmatch(r"\d{12}\.npz", path.name))


def newest(
    folder: pathlib.Path, like: Tree, complain: Callable[[Tree, dict[str, Any]], str | None] = lambda tree, meta: None
) -> tuple[Tree, dict[str, Any], list[str]]:
    """Read the newest checkpoint of a folder that can be used.

    Args:
        folder: where.
        like: a pytree of the same structure, shapes and dtypes.
        complain: says what is wrong with a tree and its meta, if anything is; then an older one is read.

    Returns:
        (the tree, its meta, what was wrong with newer ones).

    Raises:
        CheckpointError: if there is none.
    """
    complaints: list[str] = []
    for path in reversed(steps(folder)):
        try:
            meta = read_meta(path)
            tree = load(path, like)
        except (CheckpointError, FileNotFoundError) as error:
            complaints.append(str(error))
            continue
        if complaint := complain(tree, meta):
            complaints.append(f"{path} is damaged: {complaint}")
            continue
        return tree, meta, complaints
    raise CheckpointError("; ".join([f"there is no checkpoint in {folder} that can be read", *complaints]))


@contextlib.contextmanager
def _opened(path: pathlib.Path) -> Iterator[zipfile.ZipFile]:
    try:
        with path.open("rb") as file, zipfile.ZipFile(file) as archive:
            # Nothing is compressed, so nothing may unfold.
            if sum(entry.file_size for entry in archive.infolist()) > os.fstat(file.fileno()).st_size:
                raise ValueError("it says that it holds more than its own size")
            yield archive
    except (CheckpointError, FileNotFoundError):
        raise
    except Exception as error:  # zipfile, NumPy and JSON raise whatever they meet in a damaged file
        what = " ".join(str(error).split()) or type(error).__name__
        raise CheckpointError(f"{path} is damaged or no checkpoint: {what}") from None


def _kinds(archive: zipfile.ZipFile) -> dict[str, str]:
    """Return the kinds of arrays that an archive says it holds, by their names. No array is read."""
    kinds = {}
    for entry in archive.infolist():
        name = entry.filename.removesuffix(".npy")
        with archive.open(entry) as file:
            if np.lib.format.read_magic(file) != (1, 0):
                raise ValueError(f"{name} is of another version of NumPy's format")
            shape, _, dtype = np.lib.format.read_array_header_1_0(file)
            if dtype.hasobject or file.tell() + math.prod(shape) * dtype.itemsize != entry.file_size:
                raise ValueError(f"the header of {name} does not fit its size")
        if name in kinds:
            raise ValueError(f"it has {name} twice")
        kinds[name] = f"{dtype}{list(shape)}"
    return kinds


def _array(archive: zipfile.ZipFile, name: str) -> np.ndarray:
    with archive.open(f"{name}.npy") as file:
        return np.lib.format.read_array(file, allow_pickle=False)


def _kind(array: Any) -> str:
    array = array if hasattr(array, "dtype") else np.asarray(array)
    return f"{array.dtype}{list(array.shape)}"


def _leaves(tree: Any) -> list[tuple[str, Any]]:
    return [(jax.tree_util.keystr(path), leaf) for path, leaf in jax.tree_util.tree_leaves_with_path(tree)]


def _is_key(leaf: Any) -> bool:
    return isinstance(leaf, jax.Array) and jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)


def _raw(leaf: Any) -> Any:
    return jax.random.key_data(leaf) if _is_key(leaf) else leaf


def _like(leaf: Any, array: np.ndarray) -> Any:
    return (
        jax.random.wrap_key_data(jnp.asarray(array), impl=jax.random.key_impl(leaf)) if _is_key(leaf) else jnp.asarray(array)
    )
