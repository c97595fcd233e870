"""The command line: `popgym-arcade list | play | demo | benchmark | train | sweep | evaluate | introspect | export-web`."""

import argparse
import importlib
import itertools
import pathlib
import sys
import warnings
from collections.abc import Sequence

import popgym_arcade
from popgym_arcade import compile_cache, registration, terminal
from popgym_arcade.arguments import integer, real, seed_number
from popgym_arcade.environment import VIEWS, view_name
from popgym_arcade.introspection import command as introspect
from popgym_arcade.results import command as results
from popgym_arcade.web import command as export_web


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command that the arguments name, by default those of the process; return its exit status."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    # What follows -- is for the commands of a sweep.
    cut = words.index("--") if words[:1] == ["sweep"] and "--" in words else len(words)
    parser = _parser()
    options, unknown = parser.parse_known_args(words[:cut], argparse.Namespace(rest=words[cut + 1 :]))
    if options.command == "train":
        options.rest = unknown
    elif unknown:
        command = options.command
        parser.error(f"{command} has no {' '.join(unknown)}; popgym-arcade {command} --help explains what it has")
    try:
        with warnings.catch_warnings():
            warnings.showwarning = lambda message, *_: print(f"popgym-arcade: {message}", file=sys.stderr)
            _import(options.modules)
            if getattr(options, "compile_cache", False):
                compile_cache.enable()
            return options.run(options)
    except OSError as error:
        print(f"popgym-arcade: {f'{error.filename}: {error.strerror}' if error.filename else error}", file=sys.stderr)
        return 1
    except (ValueError, MemoryError, ModuleNotFoundError) as error:
        print(f"popgym-arcade: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt as interrupt:
        print(f"popgym-arcade: {interrupt.args[0] if interrupt.args else 'interrupted'}", file=sys.stderr)
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="popgym-arcade", description=popgym_arcade.__doc__)
    parser.add_argument("--version", action="version", version=popgym_arcade.__version__)
    parser.add_argument(
        "--import",
        action="append",
        default=[],
        dest="modules",
        metavar="MODULE",
        help="import a module of yours first, one that registers games",
    )
    commands = parser.add_subparsers(required=True, metavar="COMMAND", dest="command")

    command = commands.add_parser("list", help="list the games")
    command.set_defaults(run=_list)

    command = commands.add_parser("play", help="play a game yourself", description="Play a game yourself.")
    command.add_argument("game", nargs="?", metavar="GAME", help="a name such as NavigatorEasy (default: choose one)")
    command.add_argument("--view", choices=VIEWS, help="the view to begin in (default: mdp)")
    command.add_argument("--seed", type=seed_number, help="seed of the first episode (default: random)")
    command.add_argument(
        "--obs-size", type=integer(64, 512), help="size of the frames (default: 128, or what fits into the terminal)"
    )
    command.add_argument(
        "--fps", type=real(0.1, 100), help="steps per second of games that run by themselves, and of replays, 0.1 to 100"
    )
    command.add_argument("--record", type=pathlib.Path, metavar="FILE", help="write what you see to a .gif or .mp4 file")
    command.add_argument(
        "--log", type=pathlib.Path, metavar="FILE", help="write actions and rewards to a new JSON lines file"
    )
    command.add_argument("--replay", type=pathlib.Path, metavar="FILE", help="show again what was written by --log")
    command.add_argument("--terminal", action="store_true", help="play in this terminal instead of a window")
    compile_cache.add_option(command)
    command.set_defaults(run=_play)

    command = commands.add_parser("demo", help="play random games in big batches, and draw a sheet and an animation")
    _add_batch(command, num_envs=256, seconds=0.5, default="each in its first difficulty")
    command.add_argument("--all", action="store_true", help="all games in all difficulties: three times as many")
    command.add_argument(
        "--out", type=pathlib.Path, default=pathlib.Path("out"), help="folder for the pictures (default: out)"
    )
    compile_cache.add_option(command)
    command.set_defaults(run=_demo)

    command = commands.add_parser("benchmark", help="measure frames per second on this machine")
    _add_batch(command, num_envs=256, seconds=2.0, default="all")
    command.add_argument("--obs-size", type=integer(64, 512), default=128, help="size of the frames (default: 128)")
    command.add_argument("--json", type=pathlib.Path, help="also write the figures to this file")
    command.set_defaults(run=_benchmark)

    # What `train` accepts depends on the algorithm, and is parsed and explained by a module that needs the extra baselines.
    command = commands.add_parser("train", help="train an agent", add_help=False)
    command.set_defaults(run=_train)

    command = commands.add_parser(
        "sweep",
        help="train many agents: games x views x memories x seeds",
        description="Train many agents, one after the other: games x views x memories x seeds, and any options that are "
        "varied. Each is a command of its own in FOLDER/commands.txt, which any scheduler can run. What is finished is left "
        "out, what was cut off goes on.",
        epilog="What follows -- goes to every train command: popgym-arcade sweep pqn --env-ids CartPoleEasy -- --preset cpu",
    )
    command.add_argument("algorithm", help="pqn, ppo or dqn")
    command.add_argument("--env-ids", nargs="+", required=True, metavar="ENV_ID", help="names such as NavigatorEasy")
    command.add_argument("--view", nargs="+", choices=VIEWS, default=VIEWS, dest="views", help="views (default: both)")
    command.add_argument("--memories", nargs="+", default=["none"], metavar="MEMORY", help="memories (default: none)")
    command.add_argument("--seeds", nargs="+", type=seed_number, default=[0], help="seeds (default: 0)")
    command.add_argument(
        "--vary",
        nargs="+",
        action="append",
        default=[],
        metavar=("OPTION", "VALUE"),
        help="train with each of these values of an option of train, as in --vary layers 1 2; may be given several times",
    )
    command.add_argument(
        "--folder", type=pathlib.Path, default=pathlib.Path("sweep"), help="for the runs and the list (default: sweep)"
    )
    command.add_argument(
        "--jobs", type=integer(1, 1024), help="commands that run at once (default: 1; under SLURM as many as it likes)"
    )
    command.add_argument(
        "--sbatch",
        action="append",
        default=[],
        metavar="OPTION",
        help="with --submit slurm: an option of sbatch, as in --sbatch=--gres=gpu:1; may be given several times",
    )
    command.add_argument(
        "--submit",
        choices=["slurm"],
        help="submit what is not finished as an array of jobs; with --list write its script alone",
    )
    action = command.add_mutually_exclusive_group()
    action.add_argument("--list", action="store_true", help="write the list, run nothing")
    action.add_argument("--table", action="store_true", help="show the table of what there is, run nothing")
    command.set_defaults(run=_sweep)

    command = commands.add_parser("evaluate", help="let a trained agent play", description="Let a trained agent play.")
    command.add_argument("folder", type=pathlib.Path, metavar="RUN", help="the folder of a run, or an agent of the package")
    command.add_argument("--episodes", type=integer(2, 1 << 30), default=1000, help="how many (default: 1000)")
    command.add_argument("--view", choices=VIEWS, help="the view to play in (default: as it was trained)")
    command.add_argument(
        "--seed",
        type=seed_number,
        nargs="+",
        action="extend",
        dest="seeds",
        help="the agents of these seeds (default: all of the run)",
    )
    command.add_argument("--episode-seed", type=seed_number, default=0, help="seed of the episodes (default: 0)")
    command.add_argument("--json", type=pathlib.Path, help="also write the figures to this file")
    compile_cache.add_option(command)
    command.set_defaults(run=_evaluate)

    introspect.register(commands)
    results.register(commands)
    export_web.register(commands)
    return parser


def _import(modules: Sequence[str]) -> None:
    if modules and "" not in sys.path:
        sys.path.insert(0, "")  # as with `python -m`, what lies in the working directory is found
    for name in modules:
        try:
            importlib.import_module(name)
        except ModuleNotFoundError as error:
            if error.name != name:
                raise
            raise ModuleNotFoundError(f"there is no module {name!r} to import") from None


def _add_batch(command: argparse.ArgumentParser, num_envs: int, seconds: float, default: str) -> None:
    command.add_argument("games", nargs="*", metavar="GAME", help=f"names such as NavigatorEasy (default: {default})")
    command.add_argument(
        "--num-envs", type=integer(1, 1 << 20), default=num_envs, help=f"environments in a batch (default: {num_envs})"
    )
    command.add_argument(
        "--seconds",
        type=real(0.001, 1e6),
        default=seconds,
        help=f"measuring time of each view of each game (default: {seconds})",
    )


def _chosen(names: Sequence[str]) -> tuple[str, ...]:
    for name in names:
        popgym_arcade.make(name)  # raises for unknown names, before anything is measured
    return tuple(dict.fromkeys(names))


def _list(options: argparse.Namespace) -> int:
    rows = []
    for name in popgym_arcade.registered_envs:
        env, params = popgym_arcade.make(name)
        rows.append([name.ljust(22) + env.goal, str(params.max_steps_in_episode)])
    print(terminal.table(["environment", "steps"], rows))
    return 0


def _play(options: argparse.Namespace) -> int:
    from popgym_arcade.play import start

    if options.replay is None:
        start.play(
            options.game,
            partial_obs=options.view == "pomdp",
            seed=options.seed,
            obs_size=options.obs_size,
            fps=options.fps,
            in_terminal=options.terminal,
            log_path=options.log,
            film_path=options.record,
        )
    else:
        given = {"GAME": options.game, "--view": options.view, "--seed": options.seed, "--log": options.log}
        for name, value in given.items():
            if value is not None and value is not False:
                raise ValueError(f"--replay shows what was logged: it cannot be combined with {name}")
        start.replay(
            options.replay,
            obs_size=options.obs_size,
            fps=options.fps,
            in_terminal=options.terminal,
            film_path=options.record,
        )
    for path in (options.log, options.record):
        if path and path.exists():
            print(f"wrote {path}")
    return 0


def _demo(options: argparse.Namespace) -> int:
    from popgym_arcade import demo

    if options.games and options.all:
        raise ValueError("--all plays all games: it cannot be combined with GAME")
    filmed = _chosen(options.games) or [names[0] for names in registration.by_game().values()]
    games = popgym_arcade.registered_envs if options.all else filmed
    return demo.run(games, filmed, options.num_envs, options.seconds, options.out)


def _benchmark(options: argparse.Namespace) -> int:
    import json

    from popgym_arcade import files, room, speed

    games = _chosen(options.games) or popgym_arcade.registered_envs
    if options.json:
        files.check_folder(options.json)
    room.check_frames(options.num_envs, options.obs_size)
    limit = speed.fill_rate(options.num_envs, options.obs_size, options.seconds)
    results = []
    with terminal.Progress() as progress:
        for env_id, partial_obs in itertools.product(games, (False, True)):
            progress(f"{len(results) + 1}/{2 * len(games)} {env_id}, {view_name(partial_obs)}")
            results.append(
                speed.measure(
                    env_id, partial_obs, num_envs=options.num_envs, obs_size=options.obs_size, seconds=options.seconds
                )
            )
    machine = speed.machine()
    print(", ".join(f"{name} {value}" for name, value in machine.items()))
    print(f"{options.num_envs} environments, {options.obs_size} px; this device fills {limit:,.0f} such frames/s")
    print("of fill: the rate over that of filling an array of the frames' shape; memory: bytes of a step over its frames'")
    rows = [
        [
            result["env_id"],
            view_name(result["partial_obs"]),
            f"{result['frames_per_second']:,.0f}",
            f"{result['frames_per_second'] / limit:.0%}",
            f"{result['compile_seconds']:.1f}",
            f"{result['memory_ratio']:.2f}",
        ]
        for result in results
    ]
    print(terminal.table(["environment", "view", "frames/s", "of fill", "compile s", "memory"], rows))
    if machine["backend"] == "cpu" and max(result["paged_ratio"] for result in results) > 0.5:
        print(
            "The system hands out new pages for every frame. On Linux GLIBC_TUNABLES=glibc.malloc.hugetlb=1 in the"
            " environment\nmakes them larger, and steps of so many environments two to three times as fast."
        )
    if options.json:
        content = {"machine": machine, "obs_size": options.obs_size, "fill_rate": limit, "results": results}
        files.write_whole(options.json, (json.dumps(content, indent=1) + "\n").encode())
        print(f"wrote {options.json}")
    return 0


def _train(options: argparse.Namespace) -> int:
    from popgym_arcade.baselines.training import command

    return command.train(options.rest)


def _sweep(options: argparse.Namespace) -> int:
    from popgym_arcade.baselines.training import slurm
    from popgym_arcade.baselines.training.sweep import Sweep

    views = [view == "pomdp" for view in options.views]
    varied: dict[str, list[str]] = {}
    for option, *values in options.vary:
        if not values:
            raise ValueError(f"--vary {option} needs values to choose from")
        if option in varied:
            raise ValueError(f"--vary {option} is there twice: give all its values at once")
        varied[option] = values
    what = (options.env_ids, views, options.memories, options.seeds)
    sweep = Sweep(options.algorithm, *what, options.folder, options.rest, varied)
    if options.table:
        print(sweep.table())
        return 0
    if options.sbatch and not options.submit:
        raise ValueError("--sbatch is for --submit slurm")
    slurm.check_options(options.sbatch)
    if not options.list:
        sweep.check_ready()
    print(f"wrote {sweep.write_list()}")
    if options.submit:
        script = sweep.write_script(options.jobs, options.sbatch)
        print(f"wrote {script}" if options.list else slurm.submit(script))
        return 0
    return 0 if options.list else sweep.run(options.jobs or 1)


def _evaluate(options: argparse.Namespace) -> int:
    from popgym_arcade.baselines.training import command

    return command.evaluate(
        options.folder,
        partial_obs=None if options.view is None else options.view == "pomdp",
        episodes=options.episodes,
        seeds=options.seeds,
        episode_seed=options.episode_seed,
        json_path=options.json,
    )


if __name__ == "__main__":
    sys.exit(main())
