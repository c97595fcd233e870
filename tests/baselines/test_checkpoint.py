import io
import pathlib
import pickle
import re
import tracemalloc
import zipfile
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


def array(content: bytes, header: Any = None) -> bytes:
    """A NumPy file of bytes, with the header of an array of another shape, if one is given."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, header or {"descr": "|u1", "fortran_order": False, "shape": (len(content),)})
    return file.getvalue() + content


def rewrite(path: pathlib.Path, entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> None:
    """Put other entries into a checkpoint; all checksums are right."""
    with zipfile.ZipFile(path) as archive:
        known = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in (known | entries).items():
            archive.writestr(name, content)


HUGE = array(b"", {"descr": "<f4", "fortran_order": False, "shape": (10**11,)})


@pytest.mark.parametrize(
    ("entries", "compression", "complaint"),
    [
        ({"['frames'].npy": HUGE}, zipfile.ZIP_STORED, r"the header of \['frames'\] does not fit its size"),
        ({"meta.npy": HUGE}, zipfile.ZIP_STORED, "the header of meta does not fit its size"),
        ({"more.npy": bytes(10**8)}, zipfile.ZIP_DEFLATED, "more than its own size"),
        ({"meta.npy": array(bytes(10**8))}, zipfile.ZIP_DEFLATED, "more than its own size"),
        ({"meta.npy": array(b"{")}, zipfile.ZIP_STORED, "Expecting property name"),
        ({"meta.npy": array(b"\xff")}, zipfile.ZIP_STORED, "can't decode"),
        ({"meta.npy": array(b"[" * 10**5)}, zipfile.ZIP_STORED, "recursion"),
        ({"meta.npy": array(b"[1]")}, zipfile.ZIP_STORED, "no JSON object"),
        ({"meta.npy": array(b'{"good": false}')}, zipfile.ZIP_STORED, "is damaged: it is not good"),
    ],
)
def test_the_one_before_is_used_whatever_the_damage(
    entries: dict[str, bytes], compression: int, complaint: str, tmp_path: pathlib.Path
) -> None:
    def complain(tree: Any, meta: dict[str, Any]) -> str | None:
        return None if meta["good"] else "it is not good"

    checkpoint.save_step(tmp_path, 1, TREE, {"good": True})
    path = checkpoint.save_step(tmp_path, 2, blank(TREE), {"good": True})
    rewrite(path, entries, compression)
    tracemalloc.start()
    try:
        tree, _, complaints = checkpoint.newest(tmp_path, TREE, complain)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert_equal(tree, TREE)
    assert len(complaints) == 1
    assert complaints[0].startswith(str(path)) and "\n" not in complaints[0]
    assert re.search(complaint, complaints[0])
    assert peak < 10**7


def test_any_damaged_byte_is_noticed_or_changes_nothing(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "one.npz"
    checkpoint.save(path, TREE, {"step": 1})
    content = path.read_bytes()
    complaints = []
    for place in range(0, len(content), 7):
        path.write_bytes(content[:place] + bytes([content[place] ^ 255]) + content[place + 1 :])
        try:
            assert checkpoint.read_meta(path) == {"step": 1}
            assert_equal(checkpoint.load(path, TREE), TREE)
        except CheckpointError as error:
            complaints.append(str(error))
    assert len(complaints) > 100
    assert all(complaint.startswith(str(path)) for complaint in complaints)


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


def test_damaged_ones_do_not_outlive_what_is_written_after_them(tmp_path: pathlib.Path) -> None:
    for step in (1, 9):
        path = checkpoint.save_step(tmp_path, step, TREE, {"step": step})
    path.write_bytes(b"")
    checkpoint.save_step(tmp_path, 2, TREE, {"step": 2})
    assert [int(path.stem) for path in checkpoint.steps(tmp_path)] == [1, 2]
