"""Recall density: how the dependence of a decision is spread over the frames before it, and over relative time."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Float, Float64

from popgym_arcade.environment import view_name
from popgym_arcade.introspection import saliency
from popgym_arcade.introspection.episode import Progress, silent
from popgym_arcade.introspection.subject import About, Subject
from popgym_arcade.tables import Table

BINS = 30
"""Into how many parts relative time is cut, if nothing else is asked for; thirds fit into it."""


def recall_density(l1: Float[np.ndarray, "*decisions n A"]) -> Float64[np.ndarray, "*decisions n"]:
    """Recall density: the share of each frame in what a decision depends on.

    Args:
        l1: L1 norms of the gradients of a decision by the frames up to its own, one per frame and action,
            float[*decisions, n, A]; see `saliency.Recall`.

    Returns:
        float64[*decisions, n]: summed over actions, divided by the same summed over all frames. It sums to 1; NaN where all
        norms are zero, so nothing is recalled.
    """
    by_frame = np.asarray(l1, np.float64).sum(-1)
    total = by_frame.sum(-1, keepdims=True)
    with np.errstate(invalid="ignore"):
        return by_frame / total


def over_tau(density: Float[np.ndarray, "n"], bins: int = BINS) -> Float64[np.ndarray, "{bins}"]:
    """Put a density on a grid of relative time tau = t / n, n being the episode's own length.

    Frame t of n covers t/n to (t + 1)/n; what it has is shared among the bins in proportion to what they cover of it, so
    nothing is lost.

    Args:
        density: float[n].
        bins: into how many parts 0..1 is cut.

    Returns:
        float64[bins], with the same sum.
    """
    edges = np.linspace(0, 1, bins + 1)
    cumulated = np.concatenate([[0.0], np.cumsum(density)])
    return np.diff(np.interp(edges, np.linspace(0, 1, len(density) + 1), cumulated))


def thirds(density: Float[np.ndarray, "n"]) -> Float64[np.ndarray, "3"]:
    """Return the parts of a density, float[n], in the first, the middle and the last third of the episode: float64[3]."""
    return over_tau(density, 3)


class Spread(NamedTuple):
    """Means over seeds, and how far they spread."""

    mean: Float64[np.ndarray, "*shape"]
    """The mean over seeds of the means over their episodes."""
    standard_error: Float64[np.ndarray, "*shape"]
    """Its standard error: between seeds; of one seed alone between its episodes. NaN of a single episode."""
    deviation: Float64[np.ndarray, "*shape"]
    """The standard deviation between episodes, of all seeds together; NaN of a single episode."""
    seeds: int
    episodes: int


def spread(samples: Sequence[Float[np.ndarray, "_ *shape"]]) -> Spread:
    """Average over episodes and seeds.

    Args:
        samples: one for each seed, float[episodes, *shape].

    Raises:
        ValueError: if there are none.
    """
    if not samples or any(not len(episodes) for episodes in samples):
        raise ValueError("there must be at least one episode of each seed")
    together = np.concatenate([np.asarray(episodes, np.float64) for episodes in samples])
    means = np.stack([np.mean(episodes, axis=0, dtype=np.float64) for episodes in samples])
    independent = means if len(samples) > 1 else together
    return Spread(
        mean=means.mean(0),
        standard_error=_deviation(independent) / np.sqrt(len(independent)),
        deviation=_deviation(together),
        seeds=len(samples),
        episodes=len(together),
    )


def _deviation(samples: Float64[np.ndarray, "_ *shape"]) -> Float64[np.ndarray, "*shape"]:
    if len(samples) == 1:
        return np.full(samples.shape[1:], np.nan)
    return samples.std(0, ddof=1)


class DensityStudy(NamedTuple):
    """The recall density of the last decisions of whole episodes."""

    about: About
    """The agents together."""
    curve: Spread
    """Over relative time, as `over_tau` returns it: float64[BINS] each."""
    thirds: Spread
    """In the first, the middle and the last third of an episode, float64[3] each."""
    table: Table
    """A row for each episode: its length and shares; NaN where nothing is recalled."""
    remarks: tuple[str, ...]
    """Which episodes are left out of the means, and why."""


def measure_all(
    agents: Sequence[Subject], *, episodes: int = 20, episode_seed: int = 0, chunk: int = 8, progress: Progress = silent
) -> list[DensityStudy]:
    """Measure agents of several games, views and memories: a study of each, over its seeds, in the order of `agents`.

    The arguments, and the errors, are those of `measure`; one more is:

    Raises:
        ValueError: if a seed is there twice.
    """
    groups: dict[tuple[str, bool, str], dict[int, Subject]] = {}
    for agent in agents:
        about = agent.about
        seeds = groups.setdefault((about.env_id, about.partial_obs, about.memory), {})
        if about.seeds[0] in seeds:
            raise ValueError(f"{about.title} is there twice: in {seeds[about.seeds[0]].about.run} and in {about.run}")
        seeds[about.seeds[0]] = agent
    if not groups:
        raise ValueError("there must be at least one agent")
    shared = {"episodes": episodes, "episode_seed": episode_seed, "chunk": chunk}
    return [measure(list(seeds.values()), **shared, progress=progress) for seeds in groups.values()]


def table(studies: Sequence[DensityStudy]) -> Table:
    """Put the tables of studies into one, whose rows say first of which game, view and memory they are."""
    rows = [
        (study.about.env_id, view_name(study.about.partial_obs), study.about.memory, *row)
        for study in studies
        for row in study.table.rows
    ]
    return Table(("env_id", "view", "memory", *studies[0].table.header), rows)


def measure(
    agents: Sequence[Subject], *, episodes: int = 20, episode_seed: int = 0, chunk: int = 8, progress: Progress = silent
) -> DensityStudy:
    """Measure how the recall of the last decision is spread over whole episodes.

    Args:
        agents: of one game, view and memory, one for each seed.
        episodes: how many each of them plays.
        episode_seed: the seed of the episodes.
        chunk: how many decisions are worked on at once; bounds the memory that is used.
        progress: told how far it is.

    Raises:
        ValueError: if there is no agent, or no decision of one depends on any frame.
    """
    if not agents:
        raise ValueError("there must be at least one agent")
    about = agents[0].about._replace(seeds=tuple(agent.about.seeds[0] for agent in agents))
    curves, shares, rows, remarks = [], [], [], []
    for seed, agent in zip(about.seeds, agents, strict=True):
        found = []
        for number in range(episodes):
            progress(f"seed {seed}: episode {number + 1} of {episodes}")
            episode = agent.record(episode_seed, number=number)
            norms = saliency.recall(agent.model, episode, [len(episode) - 1], chunk=chunk).l1[0]
            recalled = recall_density(norms)
            curve, share = over_tau(recalled), thirds(recalled)
            rows.append((seed, number, len(episode), *curve, *share))
            if np.isnan(recalled).any():
                remarks.append(f"seed {seed}, episode {number}: the last decision depends on no frame; left out")
            else:
                found.append((curve, share))
        if not found:
            raise ValueError(f"no decision of the agent of seed {seed} depends on any frame")
        curves.append(np.stack([curve for curve, _ in found]))
        shares.append(np.stack([share for _, share in found]))
    bins = [f"tau_{(number + 0.5) / BINS:.4f}" for number in range(BINS)]
    header = ("seed", "episode", "frames", *bins, "first_third", "middle_third", "last_third")
    return DensityStudy(about, spread(curves), spread(shares), Table(header, rows), tuple(remarks))
