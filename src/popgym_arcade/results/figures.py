"""Figures of results: scores, curves, aggregates, performance profiles, ablations."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np

from popgym_arcade import scores
from popgym_arcade.environment import view_name
from popgym_arcade.figures import COLOURS, GREY, Figure, estimates, style
from popgym_arcade.results import statistics
from popgym_arcade.results.reading import Result
from popgym_arcade.results.statistics import Group
from popgym_arcade.scores import Aggregate

_VIEWS = (False, True)
_COLUMNS = 4


def scores_figure(found: dict[Group, Aggregate]) -> Figure:
    """Draw the memory score of each agent in each environment, a panel for each view, with 95 % intervals."""
    views = [view for view in _VIEWS if any(group[1] == view for group in found)]
    env_ids, agents = _names(found)
    with style():
        figure = Figure(
            figsize=(2.6 + 4.2 * len(views), 1.6 + 0.18 * len(env_ids) * max(2, len(agents))), layout="constrained"
        )
        panels = figure.subplots(1, len(views), squeeze=False, sharey=True)[0]
        for axis, view in zip(panels, views, strict=True):
            for number, agent in enumerate(agents):
                mine = [(env_ids.index(group[0]), value) for group, value in found.items() if group[1:] == (view, agent)]
                if mine:
                    places = [place + 0.7 * ((number + 0.5) / len(agents) - 0.5) for place, _ in mine]
                    estimates(axis, [value for _, value in mine], places, number, agent)
            for mark in (0, 1):
                axis.axvline(mark, color=GREY, linewidth=0.8)
            axis.set_yticks(range(len(env_ids)), env_ids)
            axis.set(ylim=(len(env_ids) - 0.5, -0.5), xlabel="memory score", title=view_name(view))
            axis.grid(axis="x", alpha=0.3)
        _legend(figure, panels[-1])
    return figure


def aggregates_figure(found: dict[tuple[bool, str], Aggregate]) -> Figure:
    """Draw interquartile means of memory scores over games, by view and agent, with 95 % intervals."""
    agents = list(dict.fromkeys(agent for _, agent in found))
    views = [view for view in _VIEWS if any(group[0] == view for group in found)]
    with style():
        figure = Figure(figsize=(1.6 + 3.6 * len(views), 1.1 + 0.32 * len(agents)), layout="constrained")
        for axis, view in zip(figure.subplots(1, len(views), squeeze=False, sharey=True)[0], views, strict=True):
            for number, agent in enumerate(agents):
                if (view, agent) in found:
                    estimates(axis, [found[view, agent]], [number], number, agent)
            axis.set_yticks(range(len(agents)), agents)
            axis.set(ylim=(len(agents) - 0.5, -0.5), xlabel="memory score, interquartile mean", title=view_name(view))
            axis.grid(axis="x", alpha=0.3)
    return figure


def profiles_figure(groups: dict[Group, list[Result]]) -> Figure:
    """Draw performance profiles: the share of runs whose memory score exceeds a threshold, by view and agent."""
    _, agents = _names(groups)
    views = [view for view in _VIEWS if any(group[1] == view for group in groups)]
    taus = np.linspace(-0.5, 1.2, 171)
    with style():
        figure = Figure(figsize=(1.6 + 4 * len(views), 3.4), layout="constrained")
        panels = figure.subplots(1, len(views), squeeze=False, sharey=True)[0]
        for axis, view in zip(panels, views, strict=True):
            for number, agent in enumerate(agents):
                games = [
                    np.array([np.mean(own) for own in statistics.memory_scores(group, seeds)])
                    for group, seeds in groups.items()
                    if group[1:] == (view, agent)
                ]
                if games:
                    share, low, high = statistics.profile(games, taus)
                    colour = COLOURS[number % len(COLOURS)]
                    axis.plot(taus, share, color=colour, label=agent, linewidth=1.6)
                    axis.fill_between(taus, low, high, color=colour, alpha=0.2, linewidth=0)
            axis.set(xlabel="memory score τ", title=view_name(view), ylim=(-0.02, 1.02))
            axis.grid(alpha=0.3)
        panels[0].set_ylabel("share of runs above τ")
        _legend(figure, panels[-1])
    return figure


def curves_figure(groups: dict[Group, list[Result]], metric: str, label: str) -> Figure:
    """Draw a metric of training by steps, a panel for each environment and view: the mean over seeds, and each seed.

    Args:
        groups: the results of each agent.
        metric: a name in `Result.curve`.
        label: what it is called.
    """
    panels = list(dict.fromkeys((group[0], group[1]) for group in groups))
    _, agents = _names(groups)
    columns = min(_COLUMNS, len(panels))
    rows = math.ceil(len(panels) / columns)
    with style():
        figure = Figure(figsize=(3.2 * columns + 0.8, 2.5 * rows + 0.6), layout="constrained")
        axes = figure.subplots(rows, columns, squeeze=False)
        for axis, (env_id, view) in zip(axes.flat, panels, strict=False):
            for number, agent in enumerate(agents):
                known = [seed for seed in groups.get((env_id, view, agent), ()) if len(seed.curve.get(metric, ()))]
                colour = COLOURS[number % len(COLOURS)]
                for seed in known:
                    axis.plot(seed.curve["steps"], seed.curve[metric], color=colour, linewidth=0.6, alpha=0.5)
                if known:
                    length = min(len(seed.curve["steps"]) for seed in known)
                    mean = np.mean([seed.curve[metric][:length] for seed in known], axis=0)
                    axis.plot(known[0].curve["steps"][:length], mean, color=colour, linewidth=1.8, label=agent)
            axis.set_title(f"{env_id}, {view_name(view)}")
            axis.grid(alpha=0.3)
        for axis in axes.flat[len(panels) :]:
            axis.set_axis_off()
        for axis in axes[-1]:
            axis.set_xlabel("environment steps")
        for row in axes:
            row[0].set_ylabel(label)
        handles = {line.get_label(): line for axis in axes.flat for line in axis.get_legend_handles_labels()[0]}
        figure.legend(handles.values(), handles.keys(), loc="outside upper center", ncols=6, frameon=False, fontsize=8)
    return figure


def ablation_figure(groups: dict[Group, list[Result]], setting: str, values: Sequence[Any]) -> Figure:
    """Draw memory scores by the value of a setting: a line for each agent, over environments, a panel for each view.

    Args:
        groups: by the name of the agent without the setting.
        setting: its name.
        values: those that there are, in their order.
    """
    _, agents = _names(groups)
    views = [view for view in _VIEWS if any(group[1] == view for group in groups)]
    with style():
        figure = Figure(figsize=(1.6 + 3.6 * len(views), 3.2), layout="constrained")
        panels = figure.subplots(1, len(views), squeeze=False, sharey=True)[0]
        for axis, view in zip(panels, views, strict=True):
            for number, agent in enumerate(agents):
                own = {group: seeds for group, seeds in groups.items() if group[1:] == (view, agent)}
                points = []
                for place, value in enumerate(values):
                    games = [
                        np.array([np.mean(each) for each in statistics.memory_scores(group, chosen)])
                        for group, seeds in own.items()
                        if (chosen := [seed for seed in seeds if seed.settings.get(setting) == value])
                    ]
                    if games:
                        points.append((place, scores.interquartile_mean(games)))
                if points:
                    offset = 0.06 * (number - (len(agents) - 1) / 2)
                    found = [aggregate for _, aggregate in points]
                    places = [place + offset for place, _ in points]
                    estimates(axis, found, places, number, agent, upright=True)
            axis.set_xticks(range(len(values)), [str(value) for value in values])
            axis.set(xlabel=setting, title=view_name(view), xlim=(-0.5, len(values) - 0.5))
            axis.grid(axis="y", alpha=0.3)
        panels[0].set_ylabel("memory score, interquartile mean")
        _legend(figure, panels[-1])
    return figure


def _names(groups: dict[Group, Any]) -> tuple[list[str], list[str]]:
    return list(dict.fromkeys(group[0] for group in groups)), list(dict.fromkeys(group[2] for group in groups))


def _legend(figure: Figure, axis: Any) -> None:
    handles = {label: line for each in figure.axes for line, label in zip(*each.get_legend_handles_labels(), strict=True)}
    axis.legend(handles.values(), handles.keys(), fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
