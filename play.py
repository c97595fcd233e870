"""Play a game: the same as `popgym-arcade play`, from a checkout."""

import pathlib
import sys

sys.path.insert(0, str(pathlib.Path(__file__).parent / "src"))

if __name__ == "__main__":
    try:
        from popgym_arcade import cli
    except ModuleNotFoundError as error:
        sys.exit(f"play.py: {error.name} is missing: pip install '.[human]'")
    sys.exit(cli.main(["play", *sys.argv[1:]]))
