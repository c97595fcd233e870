"""The command `popgym-arcade introspect saliency | density | contamination | report | gap`.

What they need is imported when they run: the command line starts in the bare install.
"""

import argparse
import pathlib
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Any

from popgym_arcade import compile_cache, files, terminal
from popgym_arcade.arguments import figure_help, integer, real, seed_number
from popgym_arcade.environment import Action, view_name

if TYPE_CHECKING:
    from popgym_arcade.introspection.subject import Subject


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

    command = _add(measures, "density", _density, "measure how recall is spread over whole episodes", several=True)
    command.add_argument(
        "--seed", type=seed_number, nargs="+", action="extend", help="the agents of these seeds (default: a run's first)"
    )
    _add_episodes(command, 20)
    _add_figure(command)

    command = _add(measures, "contamination", _contamination, "change frames, and see what becomes of later decisions")
    _add_agent(command)
    _add_steps(command, 50)
    _add_episodes(command, 4)
    command.add_argument(
        "--sigma",
        type=real(0.001, 1000),
        nargs="+",
        default=[1.0],
        help="standard deviation of the noise in a frame, one or several strengths (default: 1)",
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


def _add(
    measures: Any, name: str, run: Callable[[argparse.Namespace], int], text: str, several: bool = False
) -> argparse.ArgumentParser:
    command = measures.add_parser(name, help=text, description=f"{text.capitalize()}.")
    what = "the folder of a run, or an agent of the package"
    if several:
        help_text = f"{what}; of several those of one game, view and memory are seeds of one mean"
        command.add_argument("folders", nargs="+", type=pathlib.Path, metavar="RUN", help=help_text)
    else:
        command.add_argument("folder", type=pathlib.Path, metavar="RUN", help=what)
    command.add_argument(
        "--episode-seed",
        type=seed_number,
        default=0,
        help="seed of the episodes that are looked into (default: 0)",
    )
    command.add_argument(
        "--chunk", type=integer(1), default=8, help="how much is worked on at once; bounds the memory (default: 8)"
    )
    compile_cache.add_option(command)
    command.set_defaults(run=run)
    return command


def _add_agent(command: argparse.ArgumentParser) -> None:
    command.add_argument("--seed", type=seed_number, help="the agent of this seed (default: the run's first)")


def _add_steps(command: argparse.ArgumentParser, steps: int) -> None:
    command.add_argument("--steps", type=integer(1), default=steps, help=f"steps of an episode (default: {steps})")


def _add_episodes(command: argparse.ArgumentParser, episodes: int) -> None:
    command.add_argument("--episodes", type=integer(1), default=episodes, help=f"how many episodes (default: {episodes})")


def _add_figure(command: argparse.ArgumentParser) -> None:
    command.add_argument("-o", "--out", type=pathlib.Path, help=f"{figure_help} (default: a .png named after what it shows)")


def _target(text: str) -> str | int:
    return int(text) if text.lstrip("-").isdigit() else text


def _saliency(options: argparse.Namespace) -> int:
    from popgym_arcade.figures import save_with_table
    from popgym_arcade.introspection import figures, saliency

    _check_figure(options)
    saliency.checked_target(options.target, len(Action))
    agent = _load(options.folder, options.seed)
    with terminal.Progress() as progress:
        study = saliency.measure(
            agent, num_steps=options.steps, target=options.target, **_shared(options), progress=progress
        )
    figure = figures.saliency_figure(study.maps, study.episode.frames, f"{agent.about.title}, target {options.target}")
    _say(study.remarks)
    save_with_table(options.out or pathlib.Path(f"{agent.about.slug}-saliency.png"), figure, study.table)
    return 0


def _density(options: argparse.Namespace) -> int:
    from popgym_arcade.figures import save_with_table
    from popgym_arcade.introspection import density, figures

    _check_figure(options)
    seeds = dict.fromkeys(options.seed or [None])
    agents = [_load(folder, seed) for folder in dict.fromkeys(options.folders) for seed in seeds]
    with terminal.Progress() as progress:
        studies = density.measure_all(agents, episodes=options.episodes, **_shared(options), progress=progress)
    rows = []
    for study in studies:
        _say(study.remarks)
        about = [study.about.env_id, view_name(study.about.partial_obs), study.about.memory]
        for name, *numbers in zip(("first", "middle", "last"), *study.thirds[:3], strict=True):
            rows.append([*about, name, *(f"{number:.3f}" for number in numbers)])
    header = [
        "environment",
        "view",
        "memory",
        "third",
        "share of the recall",
        "standard error",
        "deviation between episodes",
    ]
    print(terminal.table(header, rows))
    (one, *others) = studies
    if others:
        figure, slug = figures.thirds_figure(studies), "density"
    else:
        figure, slug = figures.density_figure(one.curve, one.thirds, one.about.title), f"{one.about.slug}-density"
    save_with_table(options.out or pathlib.Path(f"{slug}.png"), figure, density.table(studies))
    return 0


def _contamination(options: argparse.Namespace) -> int:
    from popgym_arcade.figures import save_with_table
    from popgym_arcade.introspection import contamination, figures

    _check_figure(options)
    agent = _load(options.folder, options.seed)
    with terminal.Progress() as progress:
        study = contamination.measure(
            agent,
            num_steps=options.steps,
            episodes=options.episodes,
            sigmas=options.sigma,
            draws=options.draws,
            prefixes=options.prefix,
            **_shared(options),
            progress=progress,
        )
    _say(study.remarks)
    rows = [
        [name, f"{effect.moved.mean[0]:.3f}", f"{effect.flipped.mean[0]:.3f}", f"{effect.lasts:.1f}"]
        for name, effect in study.effects.items()
    ]
    print(terminal.table(["change", "mean |dA| / mean |A| at once", "flipped at once", "steps to the last flip"], rows))
    sigmas = ", ".join(f"{sigma:g}" for sigma in options.sigma)
    title = f"{agent.about.title}, at most {options.steps} steps, sigma {sigmas}"
    figure = figures.contamination_figure(study.first, study.effects, title)
    save_with_table(options.out or pathlib.Path(f"{agent.about.slug}-contamination.png"), figure, study.table)
    return 0


def _gap(options: argparse.Namespace) -> int:
    from popgym_arcade import scores
    from popgym_arcade.figures import save_with_table
    from popgym_arcade.introspection import figures, gap

    _check_figure(options)
    study = gap.compare(options.runs)
    _say(study.remarks)
    rows = []
    for name, found in study.named.items():
        for each in found:
            low, high = each.estimate[1:]
            figures_of = [f"{each.estimate.value:.3f}", f"{low:.3f} to {high:.3f}", " and ".join(map(str, each.seeds))]
            rows.append([name, each.env_id, each.memory, *figures_of, " and ".join(f"{mean:.3f}" for mean in each.returns)])
    print(terminal.table(["", "environment", "memory", "rescaled", "95 % interval", "seeds", "returns"], rows))
    _say(scores.aggregate_lines(gap.returns(study.results)))
    save_with_table(options.out or pathlib.Path("gap.png"), figures.gap_figure(study), study.table)
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
    with terminal.Progress() as progress:
        views = report.look(agent, twin, options.steps, **_shared(options), progress=progress)
    _say(remark for view in views for remark in view.episode.remarks)
    files.write_whole(options.out, report.html(views).encode())
    print(f"wrote {options.out}")
    return 0


def _load(run: pathlib.Path, seed: int | None) -> "Subject":
    from popgym_arcade.introspection import subject

    return subject.from_run(run, seed)


def _shared(options: argparse.Namespace) -> dict[str, int]:
    return {"episode_seed": options.episode_seed, "chunk": options.chunk}


def _say(lines: Iterable[str]) -> None:
    for line in lines:
        print(line)


def _check_figure(options: argparse.Namespace) -> None:
    from popgym_arcade import figures

    figures.check_outputs(options.out or pathlib.Path("figure.png"))
