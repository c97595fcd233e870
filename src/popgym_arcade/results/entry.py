"""An entry: what the agents of one training, with one seed or several, came to, as a file of JSON that can be checked.

Entries of `popgym-arcade train` are made from its runs, and hold the config that makes them again. Those of other code have
the same form without a config; so a scoreboard can compare them.
"""

import itertools
import math
import pathlib
from collections.abc import Sequence
from typing import Any

import numpy as np

import popgym_arcade
from popgym_arcade import checks, files, registration
from popgym_arcade.environment import VIEWS

FORMAT = 1
LEAST_EPISODES = 256
"""Greedy episodes of each seed."""
LEAST_SEEDS = 3
POINTS = 60
"""Of a learning curve."""
RULES = (
    "the environment is one of this package, under today's rules (env_id, env_version)",
    "the agent saw observations, its actions and the starts of episodes alone, in training, too (observation_only)",
    "the environment steps of training are stated, those of all environments together (steps)",
    f"there are at least {LEAST_SEEDS} seeds, trained independently, and none is left out (seeds)",
    f"of each there are at least {LEAST_EPISODES} episodes without exploration, not those of training (policy, returns)",
    "the config, or the code, makes it again (config or code)",
)
"""What is asked of an entry."""

_FIELDS: dict[str, tuple[type | tuple[type, ...], str]] = {
    "format": (int, f"the number {FORMAT}"),
    "env_id": (str, "the name of an environment"),
    "env_version": (int, "the version of its rules"),
    "view": (str, " or ".join(VIEWS)),
    "algorithm": (str, "a name"),
    "memory": (str, "a name"),
    "steps": ((int, float), "a number"),
    "observation_only": (bool, "true or false"),
    "policy": (str, "greedy"),
    "seeds": (list, "a list"),
}
_OPTIONAL: dict[str, tuple[type | tuple[type, ...], str]] = {
    "config": (dict, "the settings of popgym-arcade train"),
    "code": (str, "an address, https://..."),
    "command": (str, "a command"),
    "versions": (dict, "versions by package"),
    "machine": (dict, "what it was trained on"),
    "train_seconds": ((int, float), "a number"),
    "train_cpu_seconds": ((int, float), "a number"),
}

_CURVE = ("steps", "returns", "policy_churn")


def of_run(folder: pathlib.Path) -> tuple[dict[str, Any], int]:
    """Make the entry of a finished run.

    Returns:
        (entry, how many results on another view than that of training are left out).

    Raises:
        LookupError: if something is missing in the files of the run.
        OSError: if one cannot be read: the run is not finished.
        ValueError: if one is damaged, or from before evaluations held all returns.
    """
    from popgym_arcade.baselines.training import logs, run

    config, evaluation = files.read_json(folder / run.CONFIG), files.read_json(folder / run.EVALUATION)
    curves = _curves(logs.read_metrics(folder / run.METRICS)) if (folder / run.METRICS).is_file() else {}
    seeds = []
    results = [result for result in evaluation["results"] if result["view"] == config["view"]]
    for result in results:
        if "returns" not in result:
            hint = f"delete {run.EVALUATION}, and train --resume {folder} evaluates it again"
            raise ValueError(f"{folder} was evaluated by an older version, which kept no single returns; {hint}")
        seeds.append(
            {"seed": result["seed"], "returns": result["returns"], **({"curve": curves[result["seed"]]} if curves else {})}
        )
    about = {
        name: evaluation[name]
        for name in ("versions", "machine", "train_seconds", "train_cpu_seconds")
        if name in evaluation
    }
    own = {name: config[name] for name in ("env_id", "view", "algorithm", "memory")}
    version = config.get("env_version", 0)
    content = new(**own, env_version=version, steps=_steps(config), config=config, **about, seeds=seeds)
    return content, len(evaluation["results"]) - len(results)


def _steps(config: dict[str, Any]) -> int:
    """Return the steps that training takes: whole updates."""
    update = config["num_envs"] * config["num_steps"]
    return math.ceil(config["total_timesteps"] / update) * update


def new(**fields: Any) -> dict[str, Any]:
    """Return an entry with these fields, of greedy episodes of an agent that has seen observations alone."""
    return {"format": FORMAT, "observation_only": True, "policy": "greedy", **fields}


def merged(contents: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """Put entries of `of_run` that differ in their seeds alone into one each, whose config trains all of them.

    Raises:
        ValueError: if a seed is there twice.
    """
    groups: list[list[dict[str, Any]]] = []
    for content in contents:
        own = next((group for group in groups if not _differences(group[0], content)), None)
        if own is None:
            groups.append([content])
        else:
            own.append(content)
    found = []
    for group in groups:
        seeds = sorted((seed for content in group for seed in content["seeds"]), key=lambda seed: seed["seed"])
        numbers = [seed["seed"] for seed in seeds]
        if len(set(numbers)) < len(numbers):
            what = f"{group[0]['env_id']}, {group[0]['view']}, memory {group[0]['memory']}"
            raise ValueError(f"{what}: the seeds are {_spell(numbers)}, one of them is there twice")
        if not _go_on(numbers):
            found += group  # no config trains just these
            continue
        whole = group[0] | {"config": group[0]["config"] | {"seed": numbers[0], "num_seeds": len(numbers)}, "seeds": seeds}
        for name in ("train_seconds", "train_cpu_seconds"):
            whole.pop(name, None)
            if all(name in content for content in group):
                whole[name] = sum(content[name] for content in group)
        found.append(whole)
    return found


def joined(old: dict[str, Any], content: dict[str, Any]) -> dict[str, Any]:
    """Add an entry to that of the same name: seeds that were trained at other times, with the same settings.

    Returns:
        the whole.

    Raises:
        ValueError: if settings or seeds stand against it, or episodes would be lost.
    """
    if complaints := check_form(old):
        raise ValueError(f"it is no entry: {complaints[0]}")
    if changed := _differences(old, content):
        raise ValueError(f"it was made with another {', '.join(changed)}")
    before, now = ({seed["seed"]: seed["returns"] for seed in each["seeds"]} for each in (old, content))
    if before | now == before:
        return old
    if not before.keys() & now.keys():
        if not _go_on(sorted([*before, *now])):
            raise ValueError(f"it has the seeds {_spell([*before])}, to which {_spell([*now])} are not the next")
        return merged([old, content])[0]
    if not before.keys() <= now.keys():
        raise ValueError(f"it has the seeds {_spell([*before])}, some of {_spell([*now])}: export all together, or others")
    if any(len(now[seed]) < len(before[seed]) for seed in before):
        raise ValueError("it has more episodes")
    return content


def _differences(one: dict[str, Any], other: dict[str, Any]) -> list[str]:
    """Return the names of what two entries differ in, beside seeds and what came of them."""
    if ("config" in one) != ("config" in other):
        return ["config"]
    first, second = (_settings(each) if "config" in each else {} for each in (one, other))
    return [name for name in (first | second) if name not in ("seed", "num_seeds") and first.get(name) != second.get(name)]


def _settings(content: dict[str, Any]) -> dict[str, Any]:
    """Return all settings of an entry's config: those, too, that are younger than its runs."""
    from popgym_arcade.baselines.training import config as configs

    config = content["config"] | {"env_version": content["env_version"]}
    try:
        return configs.from_dict(config).to_dict()
    except ValueError:
        return config  # of an algorithm of one's own


def _go_on(numbers: Sequence[int]) -> bool:
    return list(numbers) == list(range(numbers[0], numbers[0] + len(numbers)))


def name_of(content: dict[str, Any]) -> str:
    """Return what the file of an entry is called, without its ending."""
    return f"{content['env_id']}-{content['view']}-{content['algorithm']}-{content['memory']}"


def _curves(lines: list[dict[str, Any]]) -> dict[int, dict[str, list[float | None]]]:
    """Thin metrics: by seed, steps and what was measured up to them since the point before; None where nothing was."""
    found = {}
    for seed in sorted({line["seed"] for line in lines}):
        own = [line for line in lines if line["seed"] == seed]
        ends = np.linspace(0, len(own), min(POINTS, len(own)) + 1).round().astype(int)
        parts = [own[first:last] for first, last in itertools.pairwise(ends)]
        found[seed] = {
            "steps": [part[-1]["steps"] for part in parts],
            "returns": [_mean(part, "mean_return", "episodes") for part in parts],
            "policy_churn": [_mean(part, "policy_churn") for part in parts],
        }
    return found


def _mean(lines: Sequence[dict[str, Any]], name: str, weight: str | None = None) -> float | None:
    known = [line for line in lines if line.get(name) is not None]
    weights = [line[weight] if weight else 1.0 for line in known]
    return round(float(np.average([line[name] for line in known], weights=weights)), 4) if sum(weights) else None


def check(content: Any) -> list[str]:
    """Return what is wrong with an entry, by the rules of admission, a sentence each; nothing if it can be admitted."""
    return check_form(content) or [
        complaint for rule in (_check_rules, _check_training, _check_seeds) for complaint in rule(content)
    ]


def check_form(content: Any) -> list[str]:
    """Return why something cannot be read as an entry, a sentence each; nothing if it can, though it may break the rules."""
    if not isinstance(content, dict):
        return ["an entry must be an object of names and values"]
    complaints = []
    for name, (kind, wanted) in (_FIELDS | _OPTIONAL).items():
        value = content.get(name)
        if name not in content:
            if name in _FIELDS:
                complaints.append(f"{name} is missing: {wanted}")
        elif not isinstance(value, kind) or (isinstance(value, bool) and kind is not bool):
            complaints.append(f"{name} must be {wanted}, got {value!r}")
        elif not isinstance(value, str | bool | list | dict) and not _is_number(value, at_least=0):
            complaints.append(f"{name} must be a number of at least 0, got {value!r}")
    complaints += [f"there is nothing of the name {name}" for name in content if name not in _FIELDS | _OPTIONAL]
    if complaints:
        return complaints
    if content["format"] != FORMAT:
        return [f"format must be {FORMAT}, got {content['format']}"]
    if content["view"] not in VIEWS:
        return [f"view must be {' or '.join(VIEWS)}, got {content['view']!r}"]
    return [complaint for each in content["seeds"] for complaint in _check_seed(each)]


def _is_number(value: Any, *, at_least: float, at_most: float = 1e18) -> bool:
    return type(value) in (int, float) and at_least <= value <= at_most


def _check_seed(each: Any) -> list[str]:
    number = each.get("seed") if isinstance(each, dict) else None
    if type(number) is not int or not isinstance(each.get("returns"), list):
        return ["each of seeds must have a seed, a whole number, and returns, a list"]
    if not 0 <= number < checks.SEEDS:
        return [f"seeds must be from 0 to {checks.SEEDS - 1}, got {number}"]
    complaints = [] if each["returns"] else [f"seed {number}: there are no returns"]
    wrong = [value for value in each["returns"] if not _is_number(value, at_least=-1.00002, at_most=1.00002)]
    if wrong:
        complaints.append(f"seed {number}: returns must be numbers from -1 to 1, undiscounted, got {wrong[0]!r}")
    if "curve" in each and not _is_curve(each["curve"]):
        complaints.append(f"seed {number}: a curve must be {', '.join(_CURVE)}: lists of one length, of numbers or null")
    return complaints


def _is_curve(curve: Any) -> bool:
    if not isinstance(curve, dict) or set(curve) - set(_CURVE) or "steps" not in curve:
        return False
    if not all(isinstance(values, list) and len(values) == len(curve["steps"]) for values in curve.values()):
        return False
    known = [value for name, values in curve.items() for value in values if value is not None or name == "steps"]
    return all(_is_number(value, at_least=-1e18) for value in known)


def _check_rules(content: dict[str, Any]) -> list[str]:
    if content["env_id"] not in popgym_arcade.registered_envs:
        return [f"env_id: there is no environment {content['env_id']!r}"]
    if other := registration.other_rules(content["env_id"], content["env_version"]):
        return [f"env_version: it was made under {other}"]
    return []


def _check_training(content: dict[str, Any]) -> list[str]:
    complaints = []
    if not content["observation_only"]:
        complaints.append("observation_only must be true: what sees more is a reference player, not an entry")
    if content["policy"] != "greedy":
        complaints.append(f"policy must be greedy: episodes without exploration, got {content['policy']!r}")
    if not content["steps"]:
        complaints.append("steps must be the steps of training, got 0")
    if "config" not in content and "code" not in content:
        complaints.append("config or code must say how to make it again")
    if not content.get("code", "https://").startswith("https://"):
        complaints.append(f"code must be an address, https://..., got {content['code']!r}")
    if "config" in content:
        complaints += _check_config(content)
    return complaints


def _check_config(content: dict[str, Any]) -> list[str]:
    from popgym_arcade.baselines.training import config as configs

    try:
        config = configs.from_dict(content["config"])
        settings = config.to_dict()
    except ValueError as error:
        return [f"config: {error}"]
    own = {name: settings[name] for name in ("env_id", "env_version", "view", "algorithm", "memory")}
    own |= {"steps": _steps(settings)}
    complaints = [f"{name} is {content[name]}, in config {value}" for name, value in own.items() if content[name] != value]
    numbers = [each["seed"] for each in content["seeds"]]
    if sorted(numbers) != list(config.seeds):
        complaints.append(f"seeds are {_spell(numbers)}, by config {_spell(config.seeds)}: none may be left out")
    return complaints


def _check_seeds(content: dict[str, Any]) -> list[str]:
    complaints = []
    numbers = [each["seed"] for each in content["seeds"]]
    if len(set(numbers)) < len(numbers):
        complaints.append(f"seeds are {_spell(numbers)}: one of them is there twice")
    if len(numbers) < LEAST_SEEDS:
        complaints.append(f"there must be at least {LEAST_SEEDS} seeds, got {len(numbers)}")
    for each in content["seeds"]:
        if len(each["returns"]) < LEAST_EPISODES:
            got = len(each["returns"])
            complaints.append(f"seed {each['seed']}: there must be at least {LEAST_EPISODES} returns, got {got}")
    return complaints


def _spell(numbers: Sequence[int]) -> str:
    return ", ".join(map(str, numbers)) or "none"
