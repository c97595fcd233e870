"""Saliency: the gradients of every decision by every frame before it.

The outputs of decision i are the Q values, or the probabilities of a policy, after frame i; frames are on the scale [0, 1].
A gradient passes the head and the memory once per decision and action, for all frames at once, and then the encoder frame
by frame, up to the frame of the decision. Some decisions are worked on at once, and what nobody asked for is not kept.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Bool, Float32, Int, Int32, PRNGKeyArray, Shaped, UInt8

from popgym_arcade import checks
from popgym_arcade.baselines.model.builder import MemoryNetwork
from popgym_arcade.introspection.episode import (
    Progress,
    Recording,
    checked_chunk,
    chunks,
    encode,
    padded,
    record,
    silent,
    value,
)
from popgym_arcade.introspection.subject import Subject, subject
from popgym_arcade.tables import Table

Target = str | int
"""The quantity that is differentiated: "sum", the sum over actions of each one's absolute gradient; "chosen", the output of
the action that was chosen; or the number of an action. Of one action the gradient has its sign."""
_TARGETS = ("sum", "chosen")
SMALL = 32
"""Height and width of maps at reduced size."""
_CHUNK = 8


class Recall(NamedTuple):
    """The dependence of each decision on each frame; zero where a frame comes after the decision."""

    l1: Float32[np.ndarray, "decisions n A"]
    """The L1 norm of the gradient of an action's output."""
    squared: Float32[np.ndarray, "decisions n A"]
    """Its squared L2 norm; pixel saliency, summed over the pixels of a frame."""
    small: UInt8[np.ndarray, "decisions n 32 32"] | None
    """If asked for: the absolute gradients, summed over actions, channels and blocks of pixels and divided by the greatest
    of their frame."""
    scale: Float32[np.ndarray, "decisions n"] | None
    """With it: that greatest sum."""


def get_saliency_maps(
    rng: PRNGKeyArray, model: MemoryNetwork, config: Any, num_steps: int = 10, target: Target = "sum", *, chunk: int = _CHUNK
) -> tuple[list[Float32[np.ndarray, "_ S S 3"]], UInt8[np.ndarray, "n S S 3"], list[Float32[np.ndarray, "S S 3"]]]:
    """Play an episode greedily, and map what each of its decisions depends on.

    The maps of n steps take 6 n^2 S^2 bytes: 10 MB for 10 steps of 128 px. `recall` keeps sums alone.

    Args:
        rng: one JAX random key.
        model: the agent, with or without memory, a Q-network or an actor-critic.
        config: a mapping with the keys ENV_NAME, PARTIAL, MEMORY_TYPE and SEED; or what `popgym_arcade.baselines.load`
            returns beside the model.
        num_steps: how many steps. An episode that ends earlier is mapped as far as it goes, and a line says so.
        target: see `Target`.
        chunk: how many decisions are worked on at once; bounds the memory that is used.

    Returns:
        grads: one for each of the n decisions: grads[i] float32[i + 1, S, S, 3], by frames 0..i.
        obs_seq: the frames, uint8[n, S, S, 3].
        grad_accumulator: grad_accumulator[i] float32[S, S, 3] is the sum of grads[i] over time.

    Raises:
        TypeError: if an argument has the wrong type.
        ValueError: if the game, the memory or the target is unknown (the error names the closest), the model does not fit
            the config, or a number is out of range; all before anything is compiled.
    """
    agent = subject(model, config)
    checked_target(target, model.num_actions)
    checked_chunk(chunk)
    episode = record(model, agent.env, rng, num_steps)
    for remark in episode.remarks:
        print(remark)
    grads = maps(model, episode, target, chunk=chunk)
    return grads, episode.frames, [gradients.sum(0) for gradients in grads]


class SaliencyStudy(NamedTuple):
    """The saliency of all decisions of an episode."""

    episode: Recording
    maps: list[np.ndarray]
    """As `maps` returns them."""
    recall: Recall
    """Norms of the same gradients, of each action's own output, whatever the target."""

    @property
    def table(self) -> Table:
        """A row for each decision, frame up to its own, and action."""
        _, _, num_actions = self.recall.l1.shape
        rows = [
            (decision, frame, action, self.recall.l1[decision, frame, action], self.recall.squared[decision, frame, action])
            for decision in range(len(self.episode))
            for frame in range(decision + 1)
            for action in range(num_actions)
        ]
        return Table(("decision", "frame", "action", "l1", "squared_l2"), rows)

    @property
    def remarks(self) -> tuple[str, ...]:
        """Whether the episode ended early."""
        return self.episode.remarks


def measure(
    agent: Subject,
    *,
    num_steps: int = 10,
    target: Target = "sum",
    episode_seed: int = 0,
    chunk: int = _CHUNK,
    progress: Progress = silent,
) -> SaliencyStudy:
    """Play an episode, and map which pixels each of its decisions depends on.

    Args:
        agent: who plays.
        num_steps: how many steps; an episode that ends earlier is mapped as far as it goes.
        target: see `Target`.
        episode_seed: the seed of the episode.
        chunk: how many decisions are worked on at once; bounds the memory that is used.
        progress: told how far it is.

    Raises:
        ValueError: if there is no such target; the error names the closest.
    """
    checked_target(target, agent.model.num_actions)
    episode = agent.record(episode_seed, num_steps)
    found = maps(agent.model, episode, target, chunk=chunk, progress=progress)
    return SaliencyStudy(episode, found, recall(agent.model, episode, chunk=chunk, progress=progress))


def maps(
    model: MemoryNetwork, episode: Recording, target: Target = "sum", *, chunk: int = _CHUNK, progress: Progress = silent
) -> list[Float32[np.ndarray, "_ S S 3"]]:
    """Map all decisions of an episode, in full: one float32[i + 1, S, S, 3] for each decision i, by frames 0..i."""
    checked_target(target, model.num_actions)
    keep = _absolute if target == "sum" else _signed
    decisions = np.arange(len(episode))
    return [kept["map"] for kept in stream(model, episode, decisions, keep, target, chunk, progress)]


def recall(
    model: MemoryNetwork,
    episode: Recording,
    decisions: Sequence[int] | Int[np.ndarray, "decisions"] | None = None,
    *,
    small: bool = False,
    chunk: int = _CHUNK,
    progress: Progress = silent,
) -> Recall:
    """Measure how much decisions depend on each frame, without ever keeping their maps in full.

    Args:
        model: the agent.
        episode: n steps of it.
        decisions: which ones, in ascending order; all n if left out.
        small: whether to keep maps at reduced size, too.
        chunk: how many decisions are worked on at once; bounds the memory that is used.
        progress: told how far it is.

    Raises:
        ValueError: if there is no such decision, or the order is not ascending.
    """
    length = len(episode)
    chosen = np.arange(length) if decisions is None else np.asarray(decisions, np.int32)
    if chosen.ndim != 1 or not chosen.size or chosen.min() < 0 or chosen.max() >= length or np.any(np.diff(chosen) <= 0):
        raise ValueError(f"decisions must be some of 0..{length - 1}, in ascending order, got {decisions}")
    shape = (len(chosen), length, model.num_actions)
    found = Recall(
        l1=np.zeros(shape, np.float32),
        squared=np.zeros(shape, np.float32),
        small=np.zeros((*shape[:2], SMALL, SMALL), np.uint8) if small else None,
        scale=np.zeros(shape[:2], np.float32) if small else None,
    )
    keep = _sums_and_small if small else _sums
    for row, kept in enumerate(stream(model, episode, chosen, keep, "sum", chunk, progress)):
        for name, array in kept.items():
            getattr(found, name)[row, : len(array)] = array
    return found


def pixel_saliency(gradients: Float32[np.ndarray, "A *n S S 3"]) -> Float32[np.ndarray, "*n S S"]:
    """Pixel saliency: for each pixel the sum over actions of the squared L2 norm of an action's gradient.

    Args:
        gradients: one map per action, float32[A, *n, S, S, 3]; *n may be nothing, or some axes.

    Returns:
        float32[*n, S, S].
    """
    return np.square(gradients).sum(axis=(0, -1))


def checked_target(target: Target, num_actions: int) -> Target:
    """Return a target, or raise.

    Raises:
        TypeError: if it is neither a string nor an int.
        ValueError: if there is none such; the error names the closest.
    """
    if isinstance(target, str):
        return checks.one_of("target", target, _TARGETS)
    return checks.integer("target, if it is no string,", target, 0, num_actions - 1)


Gradients = Float32[Array, "decisions directions S S 3"]
"""Gradients of decisions by one frame."""
Kept = dict[str, Shaped[Array, "decisions ..."]]
"""What is kept of them, by name."""
Keep = Callable[[Gradients], Kept]


def stream(
    model: MemoryNetwork,
    episode: Recording,
    decisions: Int[np.ndarray, "decisions"],
    keep: Keep,
    target: Target,
    chunk: int,
    progress: Progress,
) -> Iterator[dict[str, Shaped[np.ndarray, "frames ..."]]]:
    """Yield, for one decision i after the other, what `keep` keeps of its gradients by each of the frames 0..i."""
    checked_chunk(chunk)
    features = encode(model, episode.frames, chunk)
    seen = [padded(array) for array in (episode.frames, features, episode.last_action, episode.start)]
    if target == "sum":
        directions = np.broadcast_to(np.eye(model.num_actions, dtype=np.float32), (len(episode), *2 * [model.num_actions]))
    else:
        actions = episode.action if target == "chosen" else np.full(len(episode), target)
        directions = np.eye(model.num_actions, dtype=np.float32)[actions][:, None]
    done = 0
    for rows in chunks(len(decisions), min(chunk, len(decisions))):
        some = decisions[rows]
        progress(f"decision {some[-1] + 1} of {decisions[-1] + 1}")
        kept = _gradients(model, *seen, some, directions[some], some[-1] + 1, keep)
        kept = jax.tree.map(np.asarray, kept)
        for column, decision in enumerate(some[: len(decisions) - done]):
            yield {name: array[: decision + 1, column] for name, array in kept.items()}
            done += 1


@functools.partial(jax.jit, static_argnames="keep")
def _gradients(
    model: MemoryNetwork,
    frames: UInt8[Array, "n S S 3"],
    features: Float32[Array, "n F"],
    last_action: Int32[Array, "n"],
    start: Bool[Array, "n"],
    decisions: Int[Array, "decisions"],
    directions: Float32[Array, "decisions directions A"],
    count: Int[Array, ""],
    keep: Keep,
) -> dict[str, Shaped[Array, "n decisions ..."]]:
    """Differentiate decisions by frames 0..count - 1."""

    def answers(features: Float32[Array, "n F"]) -> Float32[Array, "n A"]:
        return value(model.remember(model.initial_state(), features, last_action, start)[1])

    outputs, through_memory = jax.vjp(answers, features)
    at = jax.nn.one_hot(decisions, len(frames), dtype=outputs.dtype)
    cotangents = at[:, None, :, None] * directions[:, :, None, :]
    [by_features] = jax.vmap(jax.vmap(through_memory))(cotangents)
    some, per_decision = directions.shape[:2]

    def by_frame(time: Int[Array, ""]) -> Kept:
        frame = frames[time].astype(jnp.float32) / 255
        _, through_encoder = jax.vjp(lambda frame: model.encoder(frame[None])[0], frame)
        [gradients] = jax.vmap(through_encoder)(by_features[:, :, time].reshape(some * per_decision, -1))
        return keep(gradients.reshape(some, per_decision, *frames.shape[1:]))

    def step(
        time: Int[Array, ""], kept: dict[str, Shaped[Array, "n decisions ..."]]
    ) -> dict[str, Shaped[Array, "n decisions ..."]]:
        return jax.tree.map(lambda all_of_them, new: all_of_them.at[time].set(new), kept, by_frame(time))

    kept = jax.tree.map(
        lambda leaf: jnp.zeros((len(frames), *leaf.shape), leaf.dtype), jax.eval_shape(by_frame, jnp.zeros((), jnp.int32))
    )
    return jax.lax.fori_loop(0, count, step, kept)


def _absolute(gradients: Gradients) -> Kept:
    return {"map": jnp.abs(gradients).sum(1)}


def _signed(gradients: Gradients) -> Kept:
    return {"map": gradients[:, 0]}


def _sums(gradients: Gradients) -> Kept:
    return {"l1": jnp.abs(gradients).sum((2, 3, 4)), "squared": jnp.square(gradients).sum((2, 3, 4))}


def _sums_and_small(gradients: Gradients) -> Kept:
    blocks = jnp.asarray(_overlaps(gradients.shape[2], SMALL))
    small = jnp.einsum("ih,dhw,jw->dij", blocks, jnp.abs(gradients).sum((1, 4)), blocks)
    scale = small.max((1, 2))
    relative = small / jnp.where(scale > 0, scale, 1)[:, None, None]
    return {**_sums(gradients), "small": jnp.round(255 * relative).astype(jnp.uint8), "scale": scale}


def _overlaps(size: int, parts: int) -> Float32[np.ndarray, "{parts} {size}"]:
    """How much of each pixel lies in each of `parts` equal parts of their row; columns sum to 1."""
    edges = np.arange(parts + 1) * size / parts
    pixels = np.arange(size)
    low = np.maximum(edges[:-1, None], pixels)
    high = np.minimum(edges[1:, None], pixels + 1)
    return np.maximum(high - low, 0).astype(np.float32)
