"""A report to explore in a browser: one HTML file that needs no network, or one object for a notebook."""

import base64
import datetime
import html as markup
import importlib.resources
import json
import pathlib
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np
from jaxtyping import UInt8

import popgym_arcade
from popgym_arcade import pictures, scores
from popgym_arcade.environment import Action, view_name
from popgym_arcade.introspection import contamination, density, saliency
from popgym_arcade.introspection.contamination import Contamination
from popgym_arcade.introspection.episode import Progress, Recording, silent
from popgym_arcade.introspection.saliency import Recall
from popgym_arcade.introspection.subject import About, Subject, from_run, subject

_COLUMNS = 10  # of frames in a picture of them all
_DRAWS = 4


class View(NamedTuple):
    """The part of a report that shows one view of a game."""

    subject: Subject
    episode: Recording
    recall: Recall
    """Of all decisions, with small maps."""
    noise: Contamination
    """The effect of noise in each frame."""
    is_guest: bool
    """Whether the agent was trained on the other view."""


def look(
    agent: Subject,
    twin: Subject,
    num_steps: int = 50,
    *,
    episode_seed: int = 0,
    chunk: int = 8,
    progress: Progress = silent,
) -> tuple[View, View]:
    """Look into an episode of each view of a game.

    Args:
        agent: who plays one of the views.
        twin: who plays the other, the same agent or another one.
        num_steps: how many steps; an episode that ends earlier is looked into as far as it goes.
        episode_seed: both episodes start in the same state, that of this seed.
        chunk: how much is worked on at once; bounds the memory that is used.
        progress: told how far it is.

    Returns:
        (MDP, POMDP).

    Raises:
        ValueError: if the two do not play the two views of one game.
    """
    check_twins(agent.about, twin.about)
    views = []
    for one in sorted((agent, twin), key=lambda one: one.env.partial_obs):

        def told(message: str, name: str = view_name(one.env.partial_obs)) -> None:
            progress(f"{name}: {message}")

        episode = one.record(episode_seed, num_steps)
        recall = saliency.recall(one.model, episode, small=True, chunk=chunk, progress=told)
        random = np.random.default_rng(episode_seed)
        noise = contamination.noise(one.model, episode, random, draws=_DRAWS, chunk=chunk, progress=told)
        is_guest = one is twin and twin.model is agent.model
        views.append(View(one, episode, recall, noise, is_guest))
    mdp, pomdp = views
    return mdp, pomdp


def check_twins(about: About, twin: About) -> None:
    """Raise a ValueError if two agents do not play the two views of one game."""
    if about.env_id != twin.env_id or about.partial_obs == twin.partial_obs:
        raise ValueError(
            f"a report shows one game in both views, not {about.title} beside {twin.title}; "
            "the second agent must play the other view"
        )


def html(views: Sequence[View]) -> str:
    """Write the report on what `look` has found: a document that needs nothing but a browser."""
    import matplotlib as mpl

    maps = {name: (255 * mpl.colormaps[name](np.linspace(0, 1, 64))[:, :3]).round().astype(int) for name in _MAPS}
    data = {
        "actions": [action.name.lower() for action in Action],
        "small": saliency.SMALL,
        "colours": {name: colours.tolist() for name, colours in maps.items()},
        "views": [_data(view) for view in views],
    }
    first = views[0].subject.about
    page = importlib.resources.files("popgym_arcade.introspection").joinpath("report.html").read_text(encoding="utf-8")
    # "<" could end the element that holds the data.
    page = page.replace("__DATA__", json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"))
    page = page.replace("__MADE__", markup.escape(_made(views)))
    return page.replace("__TITLE__", markup.escape(f"{first.env_id}, memory {first.memory}"))


def _made(views: Sequence[View]) -> str:
    """Say what a report was made of, by what, and when."""
    runs = " and ".join(dict.fromkeys(view.subject.about.run for view in views if view.subject.about.run))
    made = f"popgym-arcade {popgym_arcade.__version__}, {datetime.date.today().isoformat()}"
    return f"Run {runs}; {made}" if runs else made


class Notebook:
    """A report that notebooks show."""

    def __init__(self, document: str, height: int) -> None:
        self.document = document
        self.height = height

    def _repr_html_(self) -> str:
        source = markup.escape(self.document, quote=True)
        style = f"width:100%;height:{self.height}px;border:1px solid #ddd;border-radius:8px"
        return f'<iframe srcdoc="{source}" style="{style}" title="report"></iframe>'


def show(
    agent: str | pathlib.Path | tuple[Any, Any],
    num_steps: int = 50,
    *,
    seed: int | None = None,
    episode_seed: int = 0,
    chunk: int = 8,
    height: int = 900,
) -> Notebook:
    """Show the report of an agent in a notebook.

    Args:
        agent: the folder of a run; or (model, config), as `saliency.get_saliency_maps` takes them.
        num_steps: how many steps.
        seed: of a run, the agent of this seed; the first one if left out.
        episode_seed: that of the episodes that are shown.
        chunk: how much is worked on at once; bounds the memory that is used.
        height: in pixels.

    Raises:
        TypeError: if agent is neither.
        ValueError: if a seed is given beside (model, config), or the model does not fit the config.
    """
    if not isinstance(agent, str | pathlib.Path) and not (isinstance(agent, tuple) and len(agent) == 2):
        raise TypeError(f"agent must be a run or (model, config), got {type(agent).__name__}")
    if isinstance(agent, tuple):
        if seed is not None:
            raise ValueError("seed says which agent of a run to show: it cannot be combined with (model, config)")
        chosen = subject(*agent)
    else:
        chosen = from_run(pathlib.Path(agent), seed)
    views = look(chosen, chosen.other_view(), num_steps, episode_seed=episode_seed, chunk=chunk)
    return Notebook(html(views), height)


_MAPS = ("viridis", "cividis")


def _data(view: View) -> dict[str, Any]:
    episode, recall, noise = view.episode, view.recall, view.noise
    assert recall.small is not None and recall.scale is not None
    length = len(episode)
    below = np.tril_indices(length)
    env, env_id = view.subject.env, view.subject.about.env_id
    return {
        "view": view_name(env.partial_obs),
        "game": env_id,
        "memory": view.subject.about.memory,
        "seed": view.subject.about.seeds[0],
        "run": view.subject.about.run,
        "guest": view.is_guest,
        "frames": length,
        "asked": episode.asked,
        "ended": episode.ended,
        "total": _rounded(episode.reward.sum()),
        # Of a whole episode, of a game that has reference players.
        "score": scores.told(env_id, episode.reward.sum(), partial_obs=env.partial_obs) if episode.ended else "",
        "action": episode.action.tolist(),
        "reward": _rounded(episode.reward),
        "values": _rounded(episode.values),
        "isPolicy": episode.is_policy,
        "size": episode.frames.shape[1],
        "columns": _COLUMNS,
        "atlas": "data:image/png;base64," + _base64(pictures.png(_atlas(episode.frames))),
        # Of decision i those of frames 0..i, one after the other.
        "maps": _base64(recall.small[below].tobytes()),
        "scale": _rounded(recall.scale[below]),
        "recall": _rounded(np.nan_to_num(density.recall_density(recall.l1))[below]),
        "moved": _rounded((noise.moved / (noise.unit or 1)).T[below]),
        "flipped": _rounded(noise.flipped.T[below]),
        "lasts": _rounded(noise.lasts),
    }


def _atlas(frames: UInt8[np.ndarray, "n S S 3"]) -> UInt8[np.ndarray, "height width 3"]:
    """Put frames into rows of `_COLUMNS`."""
    size = frames.shape[1]
    rows = -(-len(frames) // _COLUMNS)
    cells = np.zeros((rows * _COLUMNS, size, size, 3), np.uint8)
    cells[: len(frames)] = frames
    return cells.reshape(rows, _COLUMNS, size, size, 3).swapaxes(1, 2).reshape(rows * size, _COLUMNS * size, 3)


def _base64(content: bytes) -> str:
    return base64.b64encode(content).decode()


def _rounded(array: Any) -> Any:
    """Numbers with four significant digits, as lists."""
    array = np.asarray(array, np.float64)
    rounded = [float(f"{number:.4g}") for number in array.ravel()]
    return np.array(rounded).reshape(array.shape).tolist()
