import pathlib
import pickle
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade.baselines import checkpoint
from popgym_arcade.baselines.checkpoint import CheckpointError

TREE: dict[str, Any] = {
    "weights": [jnp.arange(6, dtype=jnp.float32).reshape(2, 3), jnp.float32(0.5)],
    "frames": np.arange(256, dtype=np.uint8),
    "flags": jnp.array([True, False]),
    "keys": jax.random.split(jax.random.key(7), 3),
    "old_key": jax.random.PRNGKey(7),
}


def blank(tree: Any) -> Any:
    return jax.tree.map(lambda leaf: leaf[::-1] if np.ndim(leaf) else leaf, tree)


def assert_equal(one: Any, other: Any) -> None:
    assert jax.tree.structure(one) == jax.tree.structure(other)
    for a, b in zip(jax.tree.leaves(one), jax.tree.leaves(other), strict=True):
        assert a.dtype == b.dtype
        np.testing.assert_array_equal(checkpoint._raw(a), checkpoint._raw(b))


def test_round_trip(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "deep" / "one.npz"
    checkpoint.save(path, TREE, {"step": 3})
    assert_equal(checkpoint.load(path, blank(TREE)), TREE)
    assert checkpoint.read_meta(path) == {"step": 3}


def test_nothing_is_executed(tmp_path: pathlib.Path) -> None:
    class Trap:
        def __reduce__(self) -> Any:
            return (pathlib.Path.touch, (tmp_path / "sprung",))

    path = tmp_path / "evil.npz"
    path.write_bytes(pickle.dumps(Trap()))
    with pytest.raises(CheckpointError, match="damaged or no checkpoint"):
        checkpoint.load(path, TREE)
    trapped: Any = {"['weights'][0]": np.array([Trap()], object)}
    np.savez(path, **trapped)
    with pytest.raises(CheckpointError, match="damaged or no checkpoint"):
        checkpoint.load(path, TREE)
    assert not (tmp_path / "sprung").exists()


@pytest.mark.parametrize("place", [0, 0.3, 0.6, 0.99])
def test_damage_is_noticed_and_the_last_good_one_is_used(tmp_path: pathlib.Path, place: float) -> None:
    checkpoint.save_step(tmp_path, 1, TREE, {"step": 1})
    path = checkpoint.save_step(tmp_path, 2, blank(TREE), {"step": 2})
    content = path.read_bytes()
    path.write_bytes(content[: int(place * len(content))])  # cut off
    tree, meta, complaints = checkpoint.newest(tmp_path, TREE)
    assert meta == {"step": 1}
    assert len(complaints) == 1
    assert path.name in complaints[0]
    assert_equal(tree, TREE)


def test_a_flipped_bit_is_noticed(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "one.npz"
    checkpoint.save(path, TREE, {})
    content = bytearray(path.read_bytes())
    content[content.index(bytes(range(100, 120)))] ^= 1  # among the frames
    path.write_bytes(content)
    with pytest.raises(CheckpointError, match="damaged"):
        checkpoint.load(path, TREE)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        ({"frames": np.zeros(255, np.uint8)}, r"\['frames'\] is uint8\[256\] instead of uint8\[255\]"),
        ({"flags": jnp.zeros(2)}, r"\['flags'\] is bool\[2\] instead of float32\[2\]"),
        ({"more": jnp.zeros(2)}, r"it lacks \['more'\]"),
        ({"frames": None}, r"it has, and should not have, \['frames'\]"),
    ],
)
def test_what_does_not_fit(tmp_path: pathlib.Path, change: dict[str, Any], complaint: str) -> None:
    checkpoint.save(tmp_path / "one.npz", TREE, {})
    with pytest.raises(CheckpointError, match=f"belongs to something else: .*{complaint}"):
        checkpoint.load(tmp_path / "one.npz", TREE | change)


def test_old_ones_are_deleted_and_foreign_files_are_not(tmp_path: pathlib.Path) -> None:
    (tmp_path / "notes.npz").touch()
    for step in (5, 40, 300):
        checkpoint.save_step(tmp_path, step, TREE, {"step": step})
    assert [int(path.stem) for path in checkpoint.steps(tmp_path)] == [40, 300]
    assert (tmp_path / "notes.npz").exists()
    with pytest.raises(CheckpointError, match="there is no checkpoint"):
        checkpoint.newest(tmp_path / "nowhere", TREE)
