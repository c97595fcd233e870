"""The command `popgym-arcade introspect saliency | density | contamination | report | gap`.

What they need is imported when they run: the command line starts in the bare install.
"""

import argparse
import pathlib
import sys
import time
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from popgym_arcade import files, terminal
from popgym_arcade.arguments import integer, real, seed_number
from popgym_arcade.environment import Action

if TYPE_CHECKING:
    from popgym_arcade.introspection.episode import Episode
    from popgym_arcade.introspection.subject import Subject

_TABLE = ".csv"
_FILE = f"a name ending in .png, .pdf or .svg; the numbers go into a {_TABLE} file beside it"

_WANTED = (
    "an observability gap needs runs of one game and memory on both views",
    'a memory bias needs runs of one game on the MDP, with a memory and with the memory "none"',
)


def register(commands: Any) -> None:
    """Add the command to the subparsers of the command line."""
    parser = commands.add_parser(
        "introspect",
        help="look into the memory of a trained agent",
        description="Look into the memory of a trained agent: what its decisions depend on, and what that is worth. "
        "RUN is the folder of a run, or the name of an agent that comes with the package, such as skittles-lru.",
    )
    measures = parser.add_subparsers(required=True, metavar="MEASURE")

    command = _add(measures, "saliency", _saliency, "map which pixels each decision depends on")
    _add_agent(command)
    _add_steps(command, 10)
    command.add_argument(
        "--target",
        type=_target,
        default="sum",
        help="what is differentiated: sum (over actions, of each one's absolute gradient; the default), chosen (the "
        "action that was chosen), or the number of an action",
    )
    _add_figure(command)

    command = _add(measures, "density", _density, "measure how recall is spread over whole episodes")
    command.add_argument(
        "--seed", type=seed_number, nargs="+", action="extend", help="the agents of these seeds (default: the run's first)"
    )
    _add_episodes(command, 20)
    _add_figure(command)

    command = _add(measures, "contamination", _contamination, "change frames, and see what becomes of later decisions")
    _add_agent(command)
    _add_steps(command, 50)
    _add_episodes(command, 4)
    command.add_argument(
        "--sigma", type=real(0.001, 1000), default=1.0, help="standard deviation of the noise in a frame (default: 1)"
    )
    command.add_argument("--draws", type=integer(1), default=4, help="how often each change is drawn (default: 4)")
    command.add_argument(
        "--prefix",
        type=integer(1),
        nargs="+",
        action="extend",
        metavar="K",
        help="shuffle the first K frames (default: a quarter and a half of each episode)",
    )
    _add_figure(command)

    command = _add(measures, "report", _report, "write a report to explore in a browser")
    _add_agent(command)
    _add_steps(command, 50)
    command.add_argument(
        "--twin", type=pathlib.Path, metavar="RUN", help="a run on the other view (default: the same agent plays both views)"
    )
    command.add_argument(
        "-o", "--out", type=pathlib.Path, default=pathlib.Path("report.html"), help="the file (default: report.html)"
    )

    text = "compare runs: observability gap and memory bias"
    command = measures.add_parser("gap", help=text, description=f"{text.capitalize()}.")
    command.add_argument(
        "runs", nargs="+", type=pathlib.Path, metavar="RUN", help="a run, a folder of runs, or an agent of the package"
    )
    _add_figure(command)
    command.set_defaults(run=_gap)


def _add(measures: Any, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    command = measures.add_parser(name, help=text, description=f"{text.capitalize()}.")
    command.add_argument("folder", type=pathlib.Path, metavar="RUN", help="the folder of a run, or an agent of the package")
    command.add_argument(
        "--episode-seed",
        type=seed_number,
        default=0,
        help="seed of the episodes that are looked into (default: 0)",
    )
    command.add_argument(
        "--chunk", type=integer(1), default=8, help="how much is worked on at once; bounds the memory (default: 8)"
    )
    command.set_defaults(run=run)
    return command


def _add_agent(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=seed_number, help="the agent of this seed (default: the run's first)")


def _add_steps(command: argparse.ArgumentParser, steps: int) -> None:
    command.add_argument("--steps", type=integer(1), default=steps, help=f"steps of an episode (default: {steps})")


def _add_episodes(command: argparse.ArgumentParser, episodes: int) -> None:
    command.add_argument("--episodes", type=integer(1), default=episodes, help=f"how many episodes (default: {episodes})")


def _add_figure(command: argparse.ArgumentParser) -> None:
    command.add_argument("-o", "--out", type=pathlib.Path, help=f"{_FILE} (default: a .png named after what it shows)")


def _target(text: str) -> str | int:
    return int(text) if text.lstrip("-").isdigit() else text


def _saliency(options: argparse.Namespace) -> int:
    from popgym_arcade.introspection import figures, saliency

    _check_figure(options)
    saliency.checked_target(options.target, len(Action))
    agent = _load(options.folder, options.seed)
    progress = _Progress()
    episode = _play(agent, options.episode_seed, options.steps)
    maps = saliency.maps(agent.model, episode, options.target, chunk=options.chunk, progress=progress)
    sums = saliency.recall(agent.model, episode, chunk=options.chunk, progress=progress)
    progress.done()
    rows = [
        (decision, frame, action, sums.l1[decision, frame, action], sums.squared[decision, frame, action])
        for decision in range(len(episode))
        for frame in range(decision + 1)
        for action in range(agent.model.num_actions)
    ]
    _write(
        options.out or pathlib.Path(f"{agent.about.slug}-saliency.png"),
        figures.saliency_figure(maps, episode.frames, f"{agent.about.title}, target {options.target}"),
        ("decision", "frame", "action", "l1", "squared_l2"),
        rows,
    )
    return 0


def _density(options: argparse.Namespace) -> int:
    import numpy as np

    from popgym_arcade.introspection import density, figures, saliency

    _check_figure(options)
    progress = _Progress()
    agents = [_load(options.folder, seed) for seed in dict.fromkeys(options.seed or [None])]
    about = agents[0].about._replace(seeds=tuple(agent.about.seeds[0] for agent in agents))
    curves, shares, rows = [], [], []
    for seed, agent in zip(about.seeds, agents, strict=True):
        found = []
        for number in range(options.episodes):
            progress(f"seed {seed}: episode {number + 1} of {options.episodes}")
            episode = _play(agent, options.episode_seed, None, number)
            last = [len(episode) - 1]
            norms = saliency.recall(agent.model, episode, last, chunk=options.chunk).l1[0]
            recalled = density.recall_density(norms)
            rows.append((seed, number, len(episode), *density.over_tau(recalled), *density.thirds(recalled)))
            if np.isnan(recalled).any():
                progress.say(f"seed {seed}, episode {number}: the last decision depends on no frame; left out")
            else:
                found.append(recalled)
        if not found:
            raise ValueError(f"no decision of the agent of seed {seed} depends on any frame")
        curves.append(np.stack([density.over_tau(recalled) for recalled in found]))
        shares.append(np.stack([density.thirds(recalled) for recalled in found]))
    progress.done()
    curve, thirds = density.spread(curves), density.spread(shares)
    table = [
        [name, f"{mean:.3f}", f"{error:.3f}", f"{deviation:.3f}"]
        for name, mean, error, deviation in zip(
            ("first", "middle", "last"), thirds.mean, thirds.standard_error, thirds.deviation, strict=True
        )
    ]
    print(terminal.table(["third", "share of the recall", "standard error", "deviation between episodes"], table))
    bins = [f"tau_{(number + 0.5) / density.BINS:.4f}" for number in range(density.BINS)]
    _write(
        options.out or pathlib.Path(f"{about.slug}-density.png"),
        figures.density_figure(curve, thirds, about.title),
        ("seed", "episode", "frames", *bins, "first_third", "middle_third", "last_third"),
        rows,
    )
    return 0


def _contamination(options: argparse.Namespace) -> int:
    import numpy as np

    from popgym_arcade.introspection import contamination, density, figures

    _check_figure(options)
    agent = _load(options.folder, options.seed)
    progress = _Progress()
    random = np.random.default_rng(options.episode_seed)
    matrices, lagged, rows = [], {}, []
    for number in range(options.episodes):
        episode = _play(agent, options.episode_seed, options.steps, number)
        given = options.prefix or [len(episode) // 4, len(episode) // 2]
        prefixes = sorted({prefix for prefix in given if 2 <= prefix < len(episode)})
        for prefix in sorted(set(options.prefix or []) - set(prefixes)):
            progress.say(f"episode {number} has {len(episode)} frames: no prefix of {prefix} is shuffled in it")
        told = progress.after(f"episode {number + 1} of {options.episodes}, ")
        shared: dict[str, Any] = {"draws": options.draws, "chunk": options.chunk, "progress": told}
        noise = contamination.noise(agent.model, episode, random, sigma=options.sigma, **shared)
        matrices.append(noise)
        changes = {"noise in one frame": noise}
        if prefixes:
            changes["first frames shuffled"] = contamination.shuffled(agent.model, episode, prefixes, random, **shared)
        for name, found in changes.items():
            lagged.setdefault(name, []).append(contamination.by_lag(found))
            for row, first in enumerate(found.first):
                for decision in range(first, len(episode)):
                    moved, flipped = found.moved[row, decision], found.flipped[row, decision]
                    rows.append((number, name, first, decision, moved, found.unit, flipped, found.lasts[row]))
    progress.done()
    table = []
    for name, found in lagged.items():
        # Over the lags that every episode has.
        length = min(int((~np.isnan(moved)).sum()) for moved, _ in found)
        moved, flipped = (density.spread([np.stack([pair[i][:length] for pair in found])]) for i in (0, 1))
        lagged[name] = moved, flipped
        kept = [row[-1] for row in rows if row[1] == name and row[2] == row[3]]
        table.append([name, f"{moved.mean[0]:.3f}", f"{flipped.mean[0]:.3f}", f"{np.mean(kept):.1f}"])
    print(terminal.table(["change", "mean |dA| / mean |A| at once", "flipped at once", "steps to the last flip"], table))
    _write(
        options.out or pathlib.Path(f"{agent.about.slug}-contamination.png"),
        figures.contamination_figure(
            matrices[0], lagged, f"{agent.about.title}, at most {options.steps} steps, sigma {options.sigma:g}"
        ),
        ("episode", "change", "first", "decision", "moved", "mean_advantage", "flipped", "steps_to_last_flip"),
        rows,
    )
    return 0


def _gap(options: argparse.Namespace) -> int:
    from popgym_arcade import scores
    from popgym_arcade.introspection import figures, gap

    _check_figure(options)
    results, left_out = gap.read(options.runs)
    for reason, count in left_out.items():
        if count:
            print(f"not counted: {count} results {reason}")
    for game, names in gap.unlike(results).items():
        print(f"beware: the runs of {game} differ in {', '.join(names)}, too")
    found = {"observability gap": gap.observability_gaps(results), "memory bias": gap.memory_biases(results)}
    if not any(found.values()):
        raise ValueError(f"there is nothing to compare: {_WANTED[0]}; {_WANTED[1]}")
    rows = [(name, *difference[:-1], *difference.seeds) for name, differences in found.items() for difference in differences]
    table = []
    for name, game, memory, difference, error, first, second, seeds, others in rows:
        views = (False, name == "observability gap")
        told = [scores.told(game, mean, partial_obs=view) for mean, view in zip((first, second), views, strict=True)]
        scored = " and ".join(told) if all(told) else ""
        table.append([f"{game}, {memory}, {name}", f"{difference:.3f}", f"{error:.3f}", f"{seeds} and {others}", scored])
    print(terminal.table(["", "difference", "standard error", "seeds", "memory scores"], table))
    for line in scores.aggregate_lines(gap.returns(results)):
        print(line)
    for wanted, differences in zip(_WANTED, found.values(), strict=True):
        if not differences:
            print(f"not there: {wanted}")
    _write(
        options.out or pathlib.Path("gap.png"),
        figures.gap_figure(*found.values()),
        ("measure", "game", "memory", "difference", "standard_error", "first", "second", "seeds_first", "seeds_second"),
        rows,
    )
    return 0


def _report(options: argparse.Namespace) -> int:
    from popgym_arcade.introspection import report, subject

    if options.out.suffix.lower() not in (".html", ".htm"):
        raise ValueError(f"the name of a report must end in .html, got {options.out.name}")
    files.check_folder(options.out)
    if options.twin:
        report.check_twins(*(subject.about_run(folder) for folder in (options.folder, options.twin)))
    agent = _load(options.folder, options.seed)
    twin = _load(options.twin, options.seed) if options.twin else agent.other_view()
    progress = _Progress()
    views = report.look(
        agent, twin, options.steps, episode_seed=options.episode_seed, chunk=options.chunk, progress=progress
    )
    progress.done()
    for view in views:
        _say_if_early(view.episode)
    files.write_whole(options.out, report.html(views).encode())
    print(f"wrote {options.out}")
    return 0


def _load(run: pathlib.Path, seed: int | None) -> "Subject":
    from popgym_arcade.introspection import subject

    return subject.from_run(run, seed)


def _play(agent: "Subject", seed: int, steps: int | None, number: int = 0) -> "Episode":
    import jax

    from popgym_arcade.introspection import episode

    played = episode.play(agent.model, agent.env, jax.random.key(seed), steps, number)
    _say_if_early(played)
    return played


def _say_if_early(played: "Episode") -> None:
    if played.ended_early:
        print(f"the episode ended after {len(played)} of {played.asked} steps")


def _check_figure(options: argparse.Namespace) -> None:
    from popgym_arcade.introspection import figures

    path = options.out or pathlib.Path("figure.png")
    figures.checked_format(path)
    for written in (path, path.with_suffix(_TABLE)):
        files.check_folder(written)


def _write(path: pathlib.Path, figure: Any, header: Sequence[str], rows: Sequence[Sequence[Any]]) -> None:
    from popgym_arcade.introspection import figures

    figures.save(figure, path)
    table = path.with_suffix(_TABLE)
    figures.write_table(table, header, rows)
    print(f"wrote {path} and {table}")


class _Progress:
    """The progress line, not more often than can be read."""

    def __init__(self) -> None:
        self.pause = 0.1 if sys.stderr.isatty() else 5.0
        self.shown = time.monotonic()

    def __call__(self, message: str) -> None:
        if time.monotonic() - self.shown >= self.pause:
            self.shown = time.monotonic()
            terminal.show_progress(message)

    def after(self, words: str) -> Callable[[str], None]:
        """Say more, before each message."""
        return lambda message: self(words + message)

    def say(self, message: str) -> None:
        """Print a line that stays."""
        terminal.show_progress("")
        print(message)

    def done(self) -> None:
        """Wipe the line."""
        terminal.show_progress("")
