"""The agents that come with the package."""

import json
import shlex

import pytest

from docs import make
from popgym_arcade import baselines
from popgym_arcade.baselines import agents
from popgym_arcade.baselines.training import command, results, run

AGENTS = sorted(agents.names().values())


def test_there_is_one() -> None:
    assert "skittles-lru" in AGENTS and len(AGENTS) == len([*agents.FOLDER.glob("*/config.json")])  # one for each game
    with pytest.raises(FileNotFoundError, match="skittles-lru"):
        baselines.load("skittles-lur")


@pytest.mark.parametrize("name", AGENTS)
def test_it_plays_as_well_as_is_said(name: str) -> None:
    model, config = baselines.load(name)
    (told,) = json.loads((run.find(name) / run.EVALUATION).read_bytes())["results"]
    assert told["view"] == config.view
    played = results.summary(results.returns({0: model}, config, config.partial_obs, 64, seed=1)[0])
    assert abs(played["mean"] - told["mean"]) < 4 * (played["standard_error"] + told["standard_error"])


@pytest.mark.parametrize("name", AGENTS)
def test_the_command_on_its_page_has_its_config(name: str) -> None:
    _, config = baselines.load(name)
    _, _, *words = shlex.split(make.command(config.to_dict()))
    assert command.parse(words).agent.to_dict() == config.to_dict()
