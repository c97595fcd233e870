"""Trained agents that come with the package: a folder each, as training leaves it, with config, evaluation and weights."""

import pathlib

from popgym_arcade import files

FOLDER = pathlib.Path(__file__).parent


def names() -> dict[str, str]:
    """Return the names of the agents, by the environments (`env_id`) that they play."""
    return {files.read_json(path)["env_id"]: path.parent.name for path in sorted(FOLDER.glob("*/config.json"))}
