"""Devices: who plays which environments, and whether there is room for it."""

import pathlib
import shutil
from collections.abc import Callable
from typing import Any, TypeVar

import jax
import numpy as np
from jax.experimental import multihost_utils
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from popgym_arcade import room
from popgym_arcade.baselines import checkpoint
from popgym_arcade.baselines.algorithm import Shard
from popgym_arcade.baselines.training import compiling, run

_AXIS = "devices"
L = TypeVar("L", bound=tuple)


class Layout:
    """The layout of a run on its devices: environments are sharded, all else is replicated."""

    def __init__(self, num_devices: int | None) -> None:
        """Take devices.

        Args:
            num_devices: how many of this process; None: all.

        Raises:
            ValueError: if there are not so many.
        """
        local = jax.local_devices()
        if num_devices is not None and not 1 <= num_devices <= len(local):
            raise ValueError(f"--num-devices must be from 1 to {len(local)}, the devices there are, got {num_devices}")
        taken = local[:num_devices]
        ids = {device.id for device in taken}
        if jax.process_count() > 1:
            every = multihost_utils.process_allgather(np.array([device.id in ids for device in local]), tiled=True)
            ordered = sorted(jax.devices(), key=lambda device: (device.process_index, device.id))
            devices = [device for device, is_taken in zip(ordered, every, strict=True) if is_taken]
        else:
            devices = list(taken)
        self.count = len(devices)
        self.mesh = Mesh(np.array(devices), (_AXIS,))
        self.shard = Shard(_AXIS, self.count) if self.count > 1 else Shard()
        self.is_first = jax.process_index() == 0

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Layout) and self.mesh == other.mesh

    def __hash__(self) -> int:
        return hash(self.mesh)

    def init(self, function: Callable[..., L], learner: type[L]) -> Callable[..., L]:
        """Compile (params, keys) -> learner."""
        if self.count > 1:
            out_specs = _specs(learner)
            function = jax.shard_map(
                function, mesh=self.mesh, in_specs=PartitionSpec(), out_specs=out_specs, check_vma=False
            )
        return jax.jit(function, compiler_options=compiling.once())

    def update(self, function: Callable[..., tuple[L, Any]], learner: type[L]) -> Callable[..., tuple[L, Any]]:
        """Compile (learner, keys) -> (learner, metrics); the learner that goes in is used up."""
        if self.count > 1:
            specs = (_specs(learner), PartitionSpec())
            function = jax.shard_map(function, mesh=self.mesh, in_specs=specs, out_specs=specs, check_vma=False)
        return jax.jit(function, donate_argnums=0, compiler_options=compiling.often())

    def spread(self, learner: L) -> L:
        """Put a learner whose arrays are whole, on the host, onto the devices."""
        if self.count == 1:
            return jax.tree.map(lambda leaf: jax.device_put(leaf, self.mesh.devices.flat[0]), learner)

        def put(spec: PartitionSpec, part: Any) -> Any:
            sharding = NamedSharding(self.mesh, spec)
            return jax.tree.map(
                lambda leaf: jax.make_array_from_callback(leaf.shape, sharding, lambda index, leaf=leaf: leaf[index]), part
            )

        return type(learner)(*map(put, _specs(type(learner)), learner))

    def gather(self, tree: Any) -> Any:
        """Fetch a pytree, whole, to the host; all processes take part."""

        def fetch(leaf: jax.Array) -> Any:
            if leaf.is_fully_addressable or leaf.is_fully_replicated:
                return np.asarray(leaf)
            return np.asarray(multihost_utils.process_allgather(leaf, tiled=True))

        return jax.tree.map(fetch, tree)

    def agree(self, decision: bool) -> bool:
        """Return what the first process decides."""
        if jax.process_count() == 1:
            return decision
        return bool(multihost_utils.broadcast_one_to_all(np.array(decision)))


def _specs(learner: Any) -> Any:
    """Return the partition specs of a class of learners, behind a first axis of seeds."""
    shared_out = {"actors": PartitionSpec(None, _AXIS), "replay": PartitionSpec(None, None, _AXIS)}
    return learner(*(shared_out.get(name, PartitionSpec()) for name in learner._fields))


def check_room(learner: Any, folder: pathlib.Path, layout: Layout) -> None:
    """See that a learner fits into memory, and its checkpoints onto the disk.

    Args:
        learner: its shapes and dtypes, of all environments.
        folder: that of the run.
        layout: how it lies on devices.

    Raises:
        MemoryError: if it does not fit into memory.
        OSError: if its checkpoints do not fit onto the disk.
    """
    stored = getattr(learner, "replay", ())
    whole, spread = byte_count(learner), byte_count((learner.actors, stored))
    need = whole - spread + spread // layout.count
    if jax.default_backend() == "cpu":  # devices of a CPU share its memory
        need *= sum(device.process_index == jax.process_index() for device in layout.mesh.devices.flat)
    replay = f", {room.size(byte_count(stored))} of it the replay buffer (--replay-size)" if stored else ""
    room.check("training", need, replay)
    parent = next(parent for parent in (folder, *folder.absolute().parents) if parent.exists())
    disk = shutil.disk_usage(parent).free
    there = sum(path.stat().st_size for path in checkpoint.steps(folder / run.CHECKPOINTS))
    more = max(3 * whole - there, whole)  # two are kept while the next one is written
    if more > disk:
        raise OSError(f"checkpoints need {room.size(more)} in {folder}; only {room.size(disk)} are free")


def byte_count(tree: Any) -> int:
    """The bytes of the arrays of a pytree, or of such as have these shapes and dtypes."""
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(tree))
