"""The results of a run: returns of greedy agents, a learning curve, a film."""

import dataclasses
import functools
import io
import math
from typing import Any

import jax
import numpy as np
from jaxtyping import Array, Float, Float64, PRNGKeyArray, UInt8

from popgym_arcade import pictures, scores
from popgym_arcade.baselines.collect import Actors, start_episodes
from popgym_arcade.baselines.evaluation import evaluate, greedy, greedy_step
from popgym_arcade.baselines.model.builder import MemoryNetwork
from popgym_arcade.baselines.training.config import Config
from popgym_arcade.environment import Environment, view_name
from popgym_arcade.experts import Episode

_BATCH = 64  # episodes played at once: few enough frames for any memory


def returns(
    models: dict[int, MemoryNetwork], config: Config[Any], partial_obs: bool, episodes: int, seed: int
) -> dict[int, Episode]:
    """Play episodes greedily, the same ones with each agent.

    Args:
        models: the agents, by their seeds.
        config: their config, which names the game.
        partial_obs: whether to play in the POMDP.
        episodes: how many.
        seed: of the episodes.

    Returns:
        what became of the episodes; every leaf a NumPy array [episodes].
    """
    env, _ = config.make_env(partial_obs)
    count = min(_BATCH, episodes)

    def all_of(model: MemoryNetwork) -> Episode:
        keys = [jax.random.fold_in(jax.random.key(seed), number) for number in range(math.ceil(episodes / count))]
        batches = [jax.device_get(_play(model, env, key, count)) for key in keys]
        return jax.tree.map(lambda *leaves: np.concatenate(leaves)[:episodes], *batches)

    return {number: all_of(model) for number, model in models.items()}


@functools.partial(jax.jit, static_argnums=(1, 3))
def _play(model: MemoryNetwork, env: Environment[Any, Any], key: PRNGKeyArray, episodes: int) -> Episode:
    return evaluate(model, env, env.default_params, greedy, key, episodes)


def summary(played: Episode) -> dict[str, Any]:
    """Return statistics of returns, fit for JSON: mean, standard error and 95 % interval (normal), quantiles; and all."""
    total = np.asarray(played.total, np.float64)
    mean = float(total.mean())
    error = float(total.std(ddof=1) / math.sqrt(len(total))) if len(total) > 1 else math.nan
    shares = (0, 0.05, 0.25, 0.5, 0.75, 0.95, 1)
    return {
        "episodes": len(total),
        "mean": mean,
        "standard_error": error,
        "interval": [mean - 1.96 * error, mean + 1.96 * error],
        "quantiles": {f"{share:g}": float(np.quantile(total, share)) for share in shares},
        "mean_length": float(np.mean(played.length)),
        "terminated": float(np.mean(played.terminated)),
        "returns": [round(each, 6) for each in total.tolist()],
    }


def histogram(total: Float[np.ndarray, "episodes"], width: int = 40) -> str:
    """Draw returns, float[episodes], as text, a line per bin."""
    if np.ptp(total) == 0:
        return f"{total[0]:6.2f}  {'█' * width} {len(total)}"
    counts, edges = np.histogram(total, bins=min(10, len(np.unique(total))))
    lines = []
    for count, low, high in zip(counts, edges, edges[1:], strict=False):
        lines.append(f"{low:6.2f} to {high:5.2f}  {'█' * round(width * count / counts.max()):{width}s} {count}")
    return "\n".join(lines)


def smooth(
    lines: list[dict[str, Any]], points: int
) -> tuple[Float64[np.ndarray, "{points}"], Float64[np.ndarray, "seeds {points}"]]:
    """Gather the returns of episodes that ended while training into intervals of steps.

    Args:
        lines: metrics of updates, as in metrics.jsonl.
        points: how many intervals.

    Returns:
        (the middles of the intervals, in steps, float64[points]; the mean return in each, float64[seeds, points], where no
        episode ended in an interval between its neighbours', before the first one NaN).
    """
    last = max(line["steps"] for line in lines)
    seeds = sorted({line["seed"] for line in lines})
    total, count = np.zeros((2, len(seeds), points))
    for line in lines:
        if line["episodes"]:
            place = seeds.index(line["seed"]), min(points - 1, int(points * line["steps"] / last))
            total[place] += line["episodes"] * line["mean_return"]
            count[place] += line["episodes"]
    places = (np.arange(points) + 0.5) * last / points
    mean = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    for row, known in zip(mean, count > 0, strict=True):
        if known.any():
            row[:] = np.interp(places, places[known], row[known], left=np.nan)
    return places, mean


def curve(lines: list[dict[str, Any]], title: str) -> bytes:
    """Draw the returns of episodes that ended while training, by steps: each seed, and their mean; a PNG.

    Args:
        lines: metrics of updates, as in metrics.jsonl.
        title: the heading.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6.4, 4), layout="constrained")
    axes = figure.add_subplot()
    places, seeds = smooth(lines, points=100)
    if len(seeds) > 1:
        for number, seed in enumerate(seeds):
            axes.plot(places, seed, color="#56B4E9", linewidth=0.8, label=None if number else f"{len(seeds)} seeds")
    axes.plot(places, np.mean(seeds, axis=0), color="#0072B2", linewidth=2, label="mean" if len(seeds) > 1 else "one seed")
    axes.set(title=title, xlabel="environment steps", ylabel="return of training episodes")
    axes.grid(alpha=0.3)
    axes.legend(frameon=False)
    axes.spines[["top", "right"]].set_visible(False)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=150)
    return buffer.getvalue()


def film(model: MemoryNetwork, config: Config[Any], seed: int, limit: int = 500) -> bytes:
    """Film an episode of the greedy agent, the twins side by side, as MP4; at most `limit` steps of it."""
    env, _ = config.make_env()
    pairs = twin_frames(model, config, jax.random.key(seed), 1, limit)
    return pictures.mp4([pictures.side_by_side(*pair) for pair in pairs], type(env).steps_per_second or 5)


def twin_frames(
    model: MemoryNetwork,
    config: Config[Any],
    key: PRNGKeyArray,
    number: int,
    limit: int | None = None,
    size: int | None = None,
) -> list[tuple[UInt8[np.ndarray, "S S 3"], UInt8[np.ndarray, "S S 3"]]]:
    """Draw an episode of the greedy agent as both twins see it.

    Args:
        model: the agent.
        config: its config, which names the game.
        key: one JAX random key.
        number: which of the episodes that `evaluate` plays with this key.
        limit: the most steps; by default it is played to its end.
        size: of what is drawn, in pixels; by default that of the frames that the agent sees.

    Returns:
        (MDP, POMDP) of each state, uint8[S, S, 3] both.
    """
    env, _ = config.make_env()
    drawn = dataclasses.replace(env, obs_size=size or env.obs_size)
    key_start, key_steps = jax.random.split(jax.random.fold_in(key, number))
    actors = _start(model, env, key_start)
    frames, done = [jax.device_get(_draw(drawn, actors.env_state))], False
    while not done and (limit is None or len(frames) < limit):
        actors, step = greedy_step(model, env, actors, jax.random.fold_in(key_steps, len(frames) - 1))
        done = bool(actors.start[0])
        frames.append(jax.device_get(_draw(drawn, step.info["final_state"])))
    return frames


@functools.partial(jax.jit, static_argnums=1)
def _start(model: MemoryNetwork, env: Environment[Any, Any], key: PRNGKeyArray) -> Actors:
    return start_episodes(model, env, env.default_params, key[None])


@functools.partial(jax.jit, static_argnums=0)
def _draw(env: Environment[Any, Any], states: Any) -> tuple[UInt8[Array, "S S 3"], UInt8[Array, "S S 3"]]:
    state = jax.tree.map(lambda leaf: leaf[0], states)
    frame, other = env.get_obs(state), env.twin.get_obs(state)
    return (other, frame) if env.partial_obs else (frame, other)


def summaries(played: dict[int, Episode], env_id: str, partial_obs: bool) -> list[dict[str, Any]]:
    """Return the statistics of each seed, see `summary`, for `evaluation.json`.

    Where there are reference returns of the game, the memory score of the mean is among them, see `popgym_arcade.scores`.
    """
    found = []
    for seed, episodes in played.items():
        told = {"seed": seed, "view": view_name(partial_obs).lower(), **summary(episodes)}
        if env_id in scores.known():
            told["memory_score"] = float(scores.memory_score(env_id, told["mean"], partial_obs=partial_obs))
        found.append(told)
    return found
