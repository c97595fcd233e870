"""Checkpoints: a pytree of arrays and what it belongs to, in one file that is safe to read.

The file is a NumPy archive (`.npz`): an array per leaf, under the leaf's path in the tree, and `meta`, JSON. Nothing in it
is executed when it is read, and every array carries a checksum. Files are written whole or not at all.
"""

import json
import pathlib
import re
import zipfile
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
        OSError: if it cannot be read.
    """
    return json.loads(_read(path, [_META])[_META].tobytes())


def load(path: pathlib.Path, like: Tree) -> Tree:
    """Read a checkpoint.

    Args:
        path: where.
        like: a pytree of the same structure, shapes and dtypes.

    Raises:
        CheckpointError: if it is none, is damaged, or does not fit; it says what does not.
        OSError: if it cannot be read.
    """
    wanted = dict(_leaves(like))
    arrays = _read(path, None)
    arrays.pop(_META, None)
    for name in sorted(wanted.keys() ^ arrays.keys()):
        which = "lacks" if name in wanted else "has, and should not have,"
        raise CheckpointError(f"{path} belongs to something else: it {which} {name}")
    leaves = []
    for name, leaf in wanted.items():
        array = arrays[name]
        if (found := _kind(array)) != (needed := _kind(_raw(leaf))):
            raise CheckpointError(f"{path} belongs to something else: {name} is {found} instead of {needed}")
        leaves.append(_like(leaf, array))
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def save_step(folder: pathlib.Path, step: int, tree: Any, meta: dict[str, Any], keep: int = 2) -> pathlib.Path:
    """Write the checkpoint of a step, and delete all but the newest ones."""
    path = folder / _NAME.format(step)
    save(path, tree, meta)
    for old in steps(folder)[:-keep]:
        old.unlink(missing_ok=True)
    return path


def steps(folder: pathlib.Path) -> list[pathlib.Path]:
    """The checkpoints of a folder, oldest first."""
    found = folder.glob("*.npz") if folder.is_dir() else []
    return sorted(path for path in found if re.fullmatch(r"\d{12}\.npz", path.name))


def newest(folder: pathlib.Path, like: Tree) -> tuple[Tree, dict[str, Any], list[str]]:
    """Read the newest checkpoint of a folder that can be read.

    Returns:
        (the tree, its meta, what was wrong with newer ones).

    Raises:
        CheckpointError: if there is none.
    """
    complaints: list[str] = []
    for path in reversed(steps(folder)):
        try:
            return load(path, like), read_meta(path), complaints
        except (CheckpointError, OSError) as error:
            complaints.append(str(error))
    raise CheckpointError("; ".join([f"there is no checkpoint in {folder} that can be read", *complaints]))


def _read(path: pathlib.Path, names: list[str] | None) -> dict[str, np.ndarray]:
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as archive:
            return {name: archive[name] for name in (archive.files if names is None else names)}
    except FileNotFoundError:
        raise
    # NotImplementedError is zipfile's, for a kind of compression it does not know: a damaged header can name any.
    except (KeyError, ValueError, EOFError, OSError, zipfile.BadZipFile, NotImplementedError) as error:
        raise CheckpointError(f"{path} is damaged or no checkpoint: {error}") from None


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
