"""The command `popgym-arcade export-web`. What it needs is imported when it runs."""

import argparse
import pathlib
from typing import Any

from popgym_arcade import files, registration, terminal
from popgym_arcade.arguments import integer


def register(commands: Any) -> None:
    """Add the command to the subparsers of the command line."""
    command = commands.add_parser(
        "export-web",
        help="write games as pages for a browser",
        description="Write games as pages for a browser, with nothing to install and nothing to run on a server: any place "
        "that serves files will do, such as python -m http.server.",
    )
    command.add_argument(
        "games",
        nargs="*",
        metavar="GAME",
        help="names such as Navigator, for all its levels, or NavigatorEasy (default: all)",
    )
    command.add_argument(
        "-o", "--out", type=pathlib.Path, default=pathlib.Path("arcade"), help="folder for the pages (default: arcade)"
    )
    command.add_argument("--obs-size", type=integer(64, 512), default=128, help="size of the frames (default: 128)")
    command.set_defaults(run=_export)


def _export(options: argparse.Namespace) -> int:
    from popgym_arcade.web import export

    by_game = registration.by_game()
    chosen: list[str] = []
    for name in options.games or by_game:
        chosen += by_game.get(name, [name])
    for name in chosen:
        registration.make(name)  # raises for unknown names, before anything is written
    files.check_folder(options.out / "index.html")
    names = list(dict.fromkeys(chosen))
    with terminal.Progress() as progress:
        for number, what in enumerate(export.write(names, options.out, options.obs_size), 1):
            progress(f"{number}/{len(names) + 1} {what}")
    print(f"wrote {options.out / 'index.html'}: python -m http.server --directory {options.out}")
    return 0
