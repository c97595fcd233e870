"""Trained agents that come with the package: a folder each, as training leaves it, with config, evaluation and weights."""

import json
import pathlib

FOLDER = pathlib.Path(__file__).parent


def names() -> dict[str, str]:
    """Return the names of the agents, by the environments (`env_id`) that they play."""
    return {json.loads(path.read_bytes())["env_id"]: path.parent.name for path in sorted(FOLDER.glob("*/config.json"))}
