"""The commands `popgym-arcade results table | scores | curves | ...`, `export-result` and `check-result`.

What they need is imported when they run: the command line starts in the bare install.
"""

import argparse
import json
import pathlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from popgym_arcade import checks, files, terminal
from popgym_arcade.arguments import figure_help
from popgym_arcade.environment import view_name
from popgym_arcade.results import entry

if TYPE_CHECKING:
    from popgym_arcade.results.reading import Result
    from popgym_arcade.results.statistics import Group

Groups = dict["Group", list["Result"]]


def register(commands: Any) -> None:
    """Add the commands to the subparsers of the command line."""
    parser = commands.add_parser(
        "results",
        help="compare the results of many runs",
        description="Compare the results of many runs: memory scores of greedy episodes, with 95 %% intervals by a "
        "bootstrap over seeds and episodes (of aggregates over seeds alone). "
        "PATH is a run, an entry as export-result writes it, or a folder of either.",
    )
    kinds = parser.add_subparsers(required=True, metavar="KIND")
    _add(kinds, "table", _table, "returns and memory scores of every environment, view and agent, and what memory adds")
    _add(kinds, "scores", _scores, "memory scores in every environment")
    _add(kinds, "curves", _curves, "returns while training")
    _add(kinds, "churn", _churn, "policy churn while training: how often an update changes the greedy action")
    _add(kinds, "aggregates", _aggregates, "interquartile means over environments and seeds")
    _add(kinds, "profiles", _profiles, "performance profiles: the share of runs above each memory score")
    command = _add(kinds, "ablation", _ablation, "memory scores by the value of a setting, such as layers or memory_size")
    command.add_argument("--by", required=True, metavar="SETTING", help="a name in config.json")

    command = commands.add_parser(
        "export-result",
        help="write what a run came to as an entry",
        description="Write what finished runs came to as entries: small files with the config, the return of each greedy "
        "episode and a thinned curve. Runs that differ in their seeds alone are one entry.",
    )
    command.add_argument("runs", nargs="*", type=pathlib.Path, metavar="RUN", help="a finished run, or a folder of runs")
    command.add_argument(
        "--logs",
        nargs="+",
        default=[],
        type=pathlib.Path,
        metavar="LOG",
        help="logs of play --log, or folders of them: what a person came to, in each game and view",
    )
    command.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("results"), help="the folder of entries (default: results)"
    )
    command.set_defaults(run=_export)

    command = commands.add_parser(
        "check-result",
        help="check entries by the rules of admission",
        description="Check entries by the rules of admission.",
        epilog=f"An entry is admitted if {'; '.join(entry.RULES)}.",
    )
    command.add_argument("paths", nargs="+", type=pathlib.Path, metavar="PATH", help="an entry, or a folder of entries")
    command.set_defaults(run=_check)


def _add(kinds: Any, name: str, run: Callable[[argparse.Namespace], int], text: str) -> argparse.ArgumentParser:
    command = kinds.add_parser(name, help=text, description=f"{text[0].upper()}{text[1:]}.")
    command.add_argument(
        "paths", nargs="+", type=pathlib.Path, metavar="PATH", help="a run, an entry, or a folder of either"
    )
    command.add_argument(
        "--memories", nargs="+", metavar="MEMORY", help="these alone, in this order (default: all there are)"
    )
    command.add_argument(
        "--where",
        action="append",
        default=[],
        type=_condition,
        metavar="SETTING=VALUE",
        help="runs with this setting alone, as in --where layers=1; may be given several times",
    )
    if name == "table":
        command.add_argument("-o", "--out", type=pathlib.Path, help="also write the numbers to a .csv file")
    else:
        command.add_argument(
            "-o",
            "--out",
            type=pathlib.Path,
            default=pathlib.Path(f"{name}.png"),
            help=f"{figure_help} (default: {name}.png)",
        )
    command.set_defaults(run=run)
    return command


def _condition(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"must be SETTING=VALUE, got {text!r}")
    return name.replace("-", "_"), value


def _read(options: argparse.Namespace) -> list["Result"]:
    """Read results; check, before that, what is to be written."""
    from popgym_arcade import figures
    from popgym_arcade.results import reading

    if options.out is not None:
        if options.run is _table:
            if options.out.suffix != ".csv":
                raise ValueError(f"the name of a table must end in .csv, got {options.out.name}")
            files.check_folder(options.out)
        else:
            figures.check_outputs(options.out)
    found, left_out = reading.read_results(options.paths)
    for remark in reading.remarks(left_out):
        print(remark)
    for name, value in options.where:
        if settings := {name for result in found for name in result.settings}:
            checks.one_of("setting", name, sorted(settings))
        if not (chosen := [result for result in found if _is(result.settings.get(name), value)]):
            there = ", ".join(dict.fromkeys(str(result.settings.get(name)) for result in found))
            raise ValueError(f"there are no results with {name}={value}, only with {there}")
        found = chosen
    wanted = [name.lower() for name in options.memories or dict.fromkeys(result.memory for result in found)]
    if missing := [name for name in wanted if not any(result.memory == name for result in found)]:
        there = ", ".join(dict.fromkeys(result.memory for result in found))
        raise ValueError(f"there are no results of the memory {missing[0]}, only of {there}")
    return sorted((result for result in found if result.memory in wanted), key=lambda result: wanted.index(result.memory))


def _is(setting: Any, text: str) -> bool:
    """Whether a setting is what was written: numbers in any way of writing them."""
    try:
        return float(text) == setting
    except ValueError:
        return text.lower() == str(setting).lower()


def _known(options: argparse.Namespace) -> Groups:
    """Read the results in environments that have a scale, by environment, view and agent."""
    from popgym_arcade import scores
    from popgym_arcade.results import statistics

    found = _read(options)
    own = [result for result in found if result.env_id in scores.known()]
    if len(own) < len(found):
        print(f"not counted: {len(found) - len(own)} results in environments that have no reference returns")
    if not own:
        raise ValueError("there is no result to compare")
    groups = statistics.grouped(own, statistics.namer(own))
    statistics.check_distinct(groups)
    order = scores.known()
    return dict(sorted(groups.items(), key=lambda item: order.index(item[0][0])))


def _table(options: argparse.Namespace) -> int:
    from popgym_arcade.results import statistics
    from popgym_arcade.tables import Table

    groups = _known(options)
    rows, numbers = [], []
    for group, seeds in groups.items():
        env_id, partial_obs, agent = group
        score, above = statistics.score(group, seeds), statistics.above_none(groups, group)
        mean = statistics.mean_of([seed.returns for seed in seeds])
        numbers.append((env_id, view_name(partial_obs), agent, len(seeds), mean, *score, *(above or (None,) * 3)))
        told = [f"{each.value:.2f} ({each.low:.2f} to {each.high:.2f})" if each else "" for each in (score, above)]
        rows.append([env_id, view_name(partial_obs), agent, str(len(seeds)), f"{mean:.3f}", *told])
    header = ["environment", "view", "agent", "seeds", "return", "memory score (95 % interval)", "above no memory"]
    print(terminal.table(header, rows))
    if options.out:
        names = ("env_id", "view", "agent", "seeds", "return", "score", "score_low", "score_high")
        table = Table((*names, "above_none", "above_none_low", "above_none_high"), numbers)
        table.save(options.out)
        print(f"wrote {options.out}")
    return 0


def _scores(options: argparse.Namespace) -> int:
    from popgym_arcade.figures import save_with_table
    from popgym_arcade.results import figures, statistics
    from popgym_arcade.tables import Table

    found = {group: statistics.score(group, seeds) for group, seeds in _known(options).items()}
    rows = [(env_id, view_name(view), agent, *score) for (env_id, view, agent), score in found.items()]
    table = Table(("env_id", "view", "agent", "score", "low", "high"), rows)
    save_with_table(options.out, figures.scores_figure(found), table)
    return 0


def _aggregates(options: argparse.Namespace) -> int:
    from popgym_arcade import scores
    from popgym_arcade.figures import save_with_table
    from popgym_arcade.results import figures
    from popgym_arcade.tables import Table

    means = {group: [seed.mean for seed in seeds] for group, seeds in _known(options).items()}
    found = scores.aggregates(means)
    print("\n".join(scores.aggregate_lines(means)))
    rows = [(view_name(view), agent, *aggregate) for (view, agent), aggregate in found.items()]
    table = Table(("view", "agent", "interquartile_mean", "low", "high"), rows)
    save_with_table(options.out, figures.aggregates_figure(found), table)
    return 0


def _profiles(options: argparse.Namespace) -> int:
    from popgym_arcade.figures import save_with_table
    from popgym_arcade.results import figures, statistics
    from popgym_arcade.tables import Table

    groups = _known(options)
    rows = [
        (*group[:1], view_name(group[1]), group[2], seed.seed, float(own.mean()))
        for group, seeds in groups.items()
        for seed, own in zip(seeds, statistics.memory_scores(group, seeds), strict=True)
    ]
    save_with_table(options.out, figures.profiles_figure(groups), Table(("env_id", "view", "agent", "seed", "score"), rows))
    return 0


def _curves(options: argparse.Namespace) -> int:
    return _draw_metric(options, "returns", "return of training episodes")


def _churn(options: argparse.Namespace) -> int:
    return _draw_metric(options, "policy_churn", "policy churn")


def _draw_metric(options: argparse.Namespace, metric: str, label: str) -> int:
    from popgym_arcade.figures import save_with_table
    from popgym_arcade.results import figures, statistics
    from popgym_arcade.tables import Table

    found = [result for result in _read(options) if len(result.curve.get(metric, ()))]
    if not found:
        raise ValueError(f"no result tells of the {label}")
    groups = statistics.grouped(found, statistics.namer(found))
    statistics.check_distinct(groups)
    rows = [
        (result.env_id, view_name(result.partial_obs), result.memory, result.seed, *point)
        for result in found
        for point in zip(result.curve["steps"], result.curve[metric], strict=True)
    ]
    table = Table(("env_id", "view", "memory", "seed", "steps", metric), rows)
    save_with_table(options.out, figures.curves_figure(groups, metric, label), table)
    return 0


def _ablation(options: argparse.Namespace) -> int:
    from popgym_arcade import scores
    from popgym_arcade.figures import save_with_table
    from popgym_arcade.results import figures, statistics
    from popgym_arcade.tables import Table

    name = options.by.replace("-", "_")
    found = [result for result in _read(options) if result.env_id in scores.known() and name in result.settings]
    values = sorted({result.settings[name] for result in found}, key=lambda value: (str(type(value)), value))
    if len(values) < 2:
        there = f"all have {values[0]}" if values else "none tells it"
        raise ValueError(f"an ablation needs results with several values of {name}: {there}")
    # Nothing else may differ: what is drawn for a value would be a mean over it.
    statistics.check_distinct(statistics.grouped(found, statistics.namer(found, [name])))
    groups = statistics.grouped(found, statistics.namer(found))
    rows = [
        (env_id, view_name(view), agent, seed.settings[name], seed.seed, float(own.mean()))
        for (env_id, view, agent), seeds in groups.items()
        for seed, own in zip(seeds, statistics.memory_scores((env_id, view, agent), seeds), strict=True)
    ]
    table = Table(("env_id", "view", "agent", name, "seed", "score"), rows)
    save_with_table(options.out, figures.ablation_figure(groups, name, values), table)
    return 0


def _export(options: argparse.Namespace) -> int:
    contents: list[dict[str, Any]] = []
    if options.runs:
        from popgym_arcade.baselines.training import run

        found = [path.parent for folder in options.runs for path in sorted(folder.rglob(run.EVALUATION))]
        if not found:
            raise ValueError(f"there is no finished run in {', '.join(map(str, options.runs))}: none has {run.EVALUATION}")
        contents += entry.merged([entry.of_run(folder)[0] for folder in found])
    if options.logs:
        from popgym_arcade.results import person

        contents += person.entries(options.logs)
    if not contents:
        raise ValueError("there is nothing to export: name a RUN, or logs of play by --logs")
    made: dict[str, dict[str, Any]] = {}
    for content in contents:
        if (name := entry.name_of(content)) in made:
            why = "which differ in their settings, or whose seeds do not follow each other"
            raise ValueError(f"there are several {name}, {why}: export them apart, by --out")
        made[name] = content
    for name, content in made.items():
        if (path := options.out / f"{name}.json").exists():
            try:
                made[name] = entry.joined(files.read_json(path), content)
            except ValueError as error:
                raise ValueError(f"{path} is there already: {error}; delete it, or choose another --out") from None
    for name, content in made.items():
        path = options.out / f"{name}.json"
        files.write_whole(path, json.dumps(content, separators=(",", ":")).encode() + b"\n")
        print(f"wrote {path}")
    return 0


def _check(options: argparse.Namespace) -> int:
    paths = files.within(options.paths, "*.json")
    if not paths:
        raise ValueError(f"there is no entry in {', '.join(map(str, options.paths))}")
    failed = 0
    for path in paths:
        try:
            complaints = entry.check(files.read_json(path))
        except ValueError as error:
            complaints = [str(error)]
        failed += bool(complaints)
        print("\n".join(f"{path}: {complaint}" for complaint in complaints) if complaints else f"{path}: admitted")
    print(f"{len(paths) - failed} of {len(paths)} entries can be admitted")
    return 1 if failed else 0
