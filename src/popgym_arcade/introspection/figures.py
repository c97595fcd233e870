"""Figures of what was measured. Maps are in viridis and cividis, which the colour-blind can read."""

import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float, UInt8

from popgym_arcade.environment import view_name
from popgym_arcade.figures import (
    BLUE,
    COLOURS,
    GREY,
    VERMILLION,
    Figure,
    MaxNLocator,
    checked_format,
    estimates,
    look,
    save,
    style,
)
from popgym_arcade.introspection import gap
from popgym_arcade.introspection.contamination import Contamination, Effect
from popgym_arcade.introspection.density import DensityStudy, Spread
from popgym_arcade.introspection.subject import described

_PANELS = 12
Maps = Float[np.ndarray, "_ S S 3"]
"""Of one decision, a map for each frame before it."""
Frames = UInt8[np.ndarray, "n S S 3"] | Float[np.ndarray, "n S S 3"]


def vis_fn(grads: Sequence[Maps], obs_seq: Frames, config: Any, path: str | pathlib.Path | None = None) -> Figure:
    """Draw what `get_saliency_maps` found, save it, and say where.

    Args:
        grads: the maps, one float32[i + 1, S, S, 3] for each decision i.
        obs_seq: the frames, uint8[n, S, S, 3]; or float of that shape, in [0, 1].
        config: the one that was given to `get_saliency_maps`.
        path: where to, a name that ends in .png, .pdf or .svg; if left out, a PNG named after game, view, memory and
            seed in the working directory.

    Returns:
        the figure.

    Raises:
        OSError: if it cannot be written.
        ValueError: if there are no maps, they do not belong to the frames, or the name ends otherwise.
    """
    about = described(config)
    path = pathlib.Path(f"{about.slug}-saliency.png") if path is None else pathlib.Path(path)
    checked_format(path)
    figure = saliency_figure(grads, obs_seq, about.title)
    save(figure, path)
    print(f"wrote {path}")
    return figure


def saliency_figure(grads: Sequence[Maps], obs_seq: Frames, title: str) -> Figure:
    """Draw a triangle: a row for each decision, a column for each frame before it, and the frames on top of them.

    Maps show the sum over channels of absolute values, by its square root, relative to the greatest of their row. Of more
    than twelve steps some are drawn, the first and the last one among them.
    """
    if not len(grads) or any(len(maps) != i + 1 for i, maps in enumerate(grads)) or len(grads) != len(obs_seq):
        lengths = [len(maps) for maps in grads]
        raise ValueError(f"grads must be maps of 1, 2, ... frames, as many as the {len(obs_seq)} of obs_seq, got {lengths}")
    shown = np.unique(np.linspace(0, len(grads) - 1, min(_PANELS, len(grads))).round().astype(int))
    size = len(shown)
    with style():
        figure = Figure(figsize=(1.6 + 0.95 * size, 1.5 + 0.95 * (size + 1)), layout="compressed")
        axes = figure.subplots(size + 1, size, squeeze=False)
        picture = None
        for column, time in enumerate(shown):
            axes[0, column].imshow(obs_seq[time], interpolation="nearest")
            axes[0, column].set_title(f"frame {time}", fontsize=8)
            for row, decision in enumerate(shown, 1):
                axis = axes[row, column]
                if time > decision:
                    axis.set_axis_off()
                    continue
                strength = np.abs(grads[decision]).sum(-1)
                relative = np.sqrt(strength[time] / (strength.max() or 1))
                picture = axis.imshow(relative, cmap="viridis", vmin=0, vmax=1, interpolation="nearest")
                if column == 0:
                    axis.set_ylabel(f"decision {decision}", fontsize=8)
        for axis in axes.flat:
            axis.set_xticks([])
            axis.set_yticks([])
            axis.spines[:].set_visible(False)
        axes[0, 0].set_ylabel("seen", fontsize=8)
        assert picture is not None
        ticks = [0, 0.25, 0.5, 1]
        bar = figure.colorbar(picture, ax=axes, shrink=0.5, aspect=30, ticks=np.sqrt(ticks))
        bar.ax.set_yticklabels([f"{tick:g}" for tick in ticks])
        bar.set_label("gradient, relative to the greatest of its row", fontsize=8)
        figure.suptitle(f"What each decision depends on\n{title}")
    return figure


def density_figure(curve: Spread, thirds: Spread, title: str) -> Figure:
    """Draw a recall density over relative time, as `density.over_tau` and `density.spread` give it, and its thirds."""
    bins = len(curve.mean)
    edges = np.linspace(0, 1, bins + 1)
    with style():
        figure = Figure(figsize=(8, 3.4), layout="constrained")
        left, right = figure.subplots(1, 2, width_ratios=(2, 1))
        _band(left, edges, bins * curve.mean, bins * curve.deviation, 0.15, "± 1 standard deviation between episodes")
        _band(left, edges, bins * curve.mean, bins * curve.standard_error, 0.4, "± 1 standard error of the mean")
        left.stairs(bins * curve.mean, edges, color=BLUE, linewidth=1.8, label="mean")
        left.axhline(1, color=GREY, linestyle=":", linewidth=1, label="evenly spread")
        left.set(xlim=(0, 1), ylim=(0, None), xlabel="relative time τ = t / n", ylabel="recall density")
        for edge in (1 / 3, 2 / 3):
            left.axvline(edge, color=GREY, linewidth=0.5)
        left.legend(loc="upper left", fontsize=8, edgecolor="none", framealpha=1)
        names = ("first", "middle", "last")
        error = None if np.isnan(thirds.standard_error).any() else thirds.standard_error
        bars = right.bar(names, thirds.mean, yerr=error, color=BLUE, capsize=3, width=0.7)
        right.bar_label(bars, [f"{share:.2f}" for share in thirds.mean], padding=3)
        right.set(ylim=(0, 1.15), ylabel="share of the recall", xlabel="third of the episode")
        figure.suptitle(f"{title}\n{_counted(curve)}")
    return figure


def thirds_figure(studies: Sequence[DensityStudy]) -> Figure:
    """Draw the shares of the thirds of an episode, a panel for each third: a bar for each game, view and memory."""

    def game_of(study: DensityStudy) -> str:
        return f"{study.about.env_id}, {view_name(study.about.partial_obs)}"

    memories = list(dict.fromkeys(study.about.memory for study in studies))
    of_game: dict[str, list[str]] = {game_of(study): [] for study in studies}  # its memories, whose bars touch
    for study in studies:
        of_game[game_of(study)].append(study.about.memory)
    games, most = list(of_game), max(map(len, of_game.values()))
    height = 0.8 / most

    def place(study: DensityStudy) -> float:
        game = game_of(study)
        return games.index(game) + height * (of_game[game].index(study.about.memory) - (len(of_game[game]) - 1) / 2)

    with style():
        figure = Figure(figsize=(10, 1.6 + 0.22 * len(games) * (1 + most)), layout="constrained")
        panels = figure.subplots(1, 3, sharey=True)
        for number, (axis, third) in enumerate(zip(panels, ("first", "middle", "last"), strict=True)):
            for rank, memory in enumerate(memories):
                mine = [study for study in studies if study.about.memory == memory]
                errors = np.nan_to_num([study.thirds.standard_error[number] for study in mine])
                axis.barh(
                    [place(study) for study in mine],
                    [study.thirds.mean[number] for study in mine],
                    xerr=errors if errors.any() else None,
                    height=height,
                    color=look(rank)[0],
                    label=memory,
                )
            axis.set(xlim=(0, 1.05), xlabel=f"share of the recall, {third} third", ylim=(len(games) - 0.5, -0.5))
            axis.axvline(1 / 3, color=GREY, linestyle=":", linewidth=1)
        panels[0].set_yticks(range(len(games)), games)
        panels[-1].legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
        figure.suptitle("Recall of the last decision, by thirds of the episode (± 1 standard error; dotted: evenly spread)")
    return figure


def contamination_figure(first: Contamination, effects: dict[str, Effect], title: str) -> Figure:
    """Draw what changed frames do to later decisions.

    Args:
        first: noise in each of the frames of one episode.
        effects: of each kind of change, over episodes.
        title: stands above it.
    """
    with style():
        figure = Figure(figsize=(12, 3.8), layout="constrained")
        matrix, moved_axis, flipped_axis = figure.subplots(1, 3)
        relative = np.ma.masked_array(first.moved / (first.unit or 1), np.tri(len(first.moved), k=-1, dtype=bool))
        picture = matrix.imshow(relative, cmap="cividis", interpolation="nearest", aspect="equal", origin="upper")
        for axis in (matrix.xaxis, matrix.yaxis):
            axis.set_major_locator(MaxNLocator(integer=True))
        rows, columns = np.nonzero(first.flipped >= 0.5)
        matrix.plot(
            columns, rows, linestyle="", marker=".", color=VERMILLION, markersize=3, label="another action is chosen"
        )
        matrix.set(xlabel="decision", ylabel="frame with noise", title="mean |ΔA| / mean |A|, first episode")
        if len(rows):
            matrix.legend(loc="lower left", fontsize=8, frameon=False)
        figure.colorbar(picture, ax=matrix, shrink=0.8)
        for colour, (name, effect) in zip(COLOURS, effects.items(), strict=False):
            for axis, curve in ((moved_axis, effect.moved), (flipped_axis, effect.flipped)):
                lags = np.arange(len(curve.mean))
                axis.plot(lags, curve.mean, color=colour, label=name, marker="." if len(lags) < 60 else "")
                low, high = curve.mean - curve.standard_error, curve.mean + curve.standard_error
                axis.fill_between(lags, low, high, color=colour, alpha=0.25, linewidth=0)
        moved_axis.set(ylabel="mean |ΔA| / mean |A|", title="how far advantages move", ylim=(0, None))
        flipped_axis.set(ylabel="share", title="how often another action is chosen", ylim=(-0.02, 1.02))
        for axis in (moved_axis, flipped_axis):
            axis.set_xlabel("steps since the change")
            axis.legend(fontsize=8, frameon=False)
        figure.suptitle(f"{title}\n{_counted(next(iter(effects.values())).moved)}")
    return figure


def gap_figure(study: gap.GapStudy) -> Figure:
    """Draw observability gaps, memory biases and returns in the POMDP, with 95 % intervals; of each those that there are."""
    names = ("observability gap\nJ(MDP) - J(POMDP)", "memory bias\nJ - J(no memory), MDP", "return in the POMDP, J(POMDP)")
    panels = [(name, found) for name, found in zip(names, study.named.values(), strict=True) if found]
    rows = max(len(found) for _, found in panels)
    memories = list(dict.fromkeys(each.memory for _, found in panels for each in found))  # each has one colour in all
    with style():
        figure = Figure(figsize=(4.6 * len(panels), 1.6 + 0.24 * rows), layout="constrained")
        for axis, (name, found) in zip(figure.subplots(1, len(panels), squeeze=False)[0], panels, strict=True):
            games = sorted({each.env_id: None for each in found}, key=lambda game: game == gap.ALL)
            for number, memory in enumerate(memories):
                if not (mine := [each for each in found if each.memory == memory]):
                    continue
                offset = (number + 0.5) / len(memories) - 0.5
                rows_of = [games.index(each.env_id) + 0.7 * offset for each in mine]
                estimates(axis, [each.estimate for each in mine], rows_of, number, memory)
            axis.axvline(0, color=GREY, linewidth=0.8)
            if gap.ALL in games:
                axis.axhline(len(games) - 1.5, color=GREY, linewidth=0.5)
            axis.set_yticks(range(len(games)), games)
            axis.locator_params(axis="x", nbins=4)  # numbers below a hundredth are long
            axis.set(ylim=(len(games) - 0.5, -0.5), xlabel=f"{name}\n(rescaled, 95 % interval)")
            axis.legend(fontsize=8, loc="center left", bbox_to_anchor=(1, 0.5), frameon=False)
    return figure


def _band(
    axis: Any,
    edges: Float[np.ndarray, "edges"],
    mean: Float[np.ndarray, "bins"],
    width: Float[np.ndarray, "bins"],
    alpha: float,
    label: str,
) -> None:
    if not np.isnan(width).any():
        options = {"fill": True, "color": BLUE, "alpha": alpha, "linewidth": 0, "label": label}
        axis.stairs(mean + width, edges, baseline=np.maximum(mean - width, 0), **options)


def _counted(curve: Spread) -> str:
    episodes = f"{curve.episodes} episode{'s' * (curve.episodes != 1)}"
    return f"{episodes} of {curve.seeds} seeds" if curve.seeds > 1 else episodes
