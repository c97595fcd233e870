"""Entries are made, checked, read and compared."""

import csv
import json
import pathlib
import shutil
from typing import Any

import numpy as np
import pytest

import popgym_arcade
from popgym_arcade import cli, scores
from popgym_arcade.results import entry, reading


def made(env_id: str, view: str, memory: str, score: float, *, seeds: int = 3, **changes: Any) -> dict[str, Any]:
    """An entry of another code, whose mean memory score is known."""
    zero, one = scores.scale(env_id, partial_obs=view == "pomdp")
    returns = np.clip(zero + (one - zero) * (score + np.tile([-0.05, 0.05], 128)), -1, 1)
    curve = {"steps": [100, 200], "returns": [None, 0.5], "policy_churn": [0.2, 0.1]}
    version = popgym_arcade.make(env_id)[0].version
    content = {"format": 1, "env_id": env_id, "env_version": version, "view": view, "algorithm": "own", "memory": memory}
    content |= {"steps": 200, "observation_only": True, "policy": "greedy", "code": "https://ADDRESS"}
    return content | {"seeds": [{"seed": i, "returns": returns.tolist(), "curve": curve} for i in range(seeds)]} | changes


@pytest.fixture
def folder(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "results").mkdir()
    for env_id in ("SkittlesEasy", "NavigatorEasy"):
        for memory, score in (("gru", 0.8), ("none", 0.2)):
            for view in ("mdp", "pomdp"):
                content = made(env_id, view, memory, score, config={"layers": 1 + (memory == "gru")})
                (tmp_path / "results" / f"{env_id}-{view}-{memory}.json").write_text(json.dumps(content))
    return tmp_path / "results"


def rows(name: str) -> list[dict[str, str]]:
    with open(name) as file:
        return list(csv.DictReader(file))


def test_the_table(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["results", "table", str(folder), "--out", "t.csv"]) == 0
    out = capsys.readouterr().out
    assert "0.80 (" in out and "0.60 (" in out
    found = {(row["env_id"], row["view"], row["agent"]): row for row in rows("t.csv")}
    assert len(found) == 8
    own = found["NavigatorEasy", "POMDP", "gru"]
    assert float(own["score"]) == pytest.approx(0.8) and float(own["above_none"]) == pytest.approx(0.6)
    assert not found["NavigatorEasy", "POMDP", "none"]["above_none"]
    assert cli.main(["results", "table", str(folder), "--memories", "gur"]) == 1
    assert "no results of the memory gur, only of gru, none" in capsys.readouterr().err


@pytest.mark.parametrize("kind", ["scores", "curves", "churn", "aggregates", "profiles"])
def test_figures(kind: str, folder: pathlib.Path) -> None:
    assert cli.main(["results", kind, str(folder), "-o", f"{kind}.pdf"]) == 0
    assert pathlib.Path(f"{kind}.pdf").read_bytes().startswith(b"%PDF")
    assert len(rows(f"{kind}.csv")) == {"scores": 8, "curves": 48, "churn": 48, "aggregates": 4, "profiles": 24}[kind]


def test_an_ablation(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["results", "ablation", str(folder), "--by", "layers"]) == 0
    assert pathlib.Path("ablation.png").exists()
    assert {row["layers"] for row in rows("ablation.csv")} == {"1", "2"}
    assert cli.main(["results", "ablation", str(folder), "--by", "layers", "--memories", "gru"]) == 1
    assert "several values of layers: all have 2" in capsys.readouterr().err
    other = made("SkittlesEasy", "pomdp", "gru", 0.5, config={"layers": 2, "memory_size": 8})
    (folder / "other.json").write_text(json.dumps(other))
    assert cli.main(["results", "ablation", str(folder), "--by", "layers"]) == 1
    assert "is there twice" in (error := capsys.readouterr().err) and "another memory_size" in error


def test_results_are_chosen_by_settings(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["results", "scores", str(folder), "--where", "layers=2"]) == 0
    assert {row["agent"] for row in rows("scores.csv")} == {"gru"}
    assert cli.main(["results", "scores", str(folder), "--where", "layers=3"]) == 1
    assert "no results with layers=3, only with 2, 1" in capsys.readouterr().err
    assert cli.main(["results", "scores", str(folder), "--where", "layer=3"]) == 1
    assert "unknown setting 'layer'; did you mean layers" in capsys.readouterr().err


def test_one_seed_of_two_kinds_is_no_mean(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    twin = made("SkittlesEasy", "pomdp", "gru", 0.5, config={"layers": 7})
    (folder / "twin.json").write_text(json.dumps(twin))
    assert cli.main(["results", "table", str(folder)]) == 1
    assert "memory gru, seed 0 is there twice" in (error := capsys.readouterr().err) and "another layers" in error


def test_what_is_no_entry(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "damaged.json").write_text('{"env_id": "SkittlesEasy"}')
    assert cli.main(["results", "table", str(tmp_path / "damaged.json")]) == 1
    assert "damaged.json is no entry" in capsys.readouterr().err
    (tmp_path / "empty").mkdir()
    assert cli.main(["results", "table", str(tmp_path / "empty")]) == 1
    assert "and no entry" in capsys.readouterr().err
    run = tmp_path / "run"
    run.mkdir()
    (run / "config.json").write_text("{}")
    (run / "evaluation.json").write_text("[]")
    assert cli.main(["results", "table", str(run)]) == 1
    assert "is no run, or a damaged one" in capsys.readouterr().err


def test_a_folder_may_hold_runs_and_entries(folder: pathlib.Path) -> None:
    content = made("TetrisEasy", "mdp", "lru", 0.5)
    config = {name: content[name] for name in ("env_id", "env_version", "view", "algorithm", "memory")}
    config |= {"num_envs": 1, "num_steps": 1, "total_timesteps": 1}
    (folder / "run").mkdir()
    (folder / "run" / "config.json").write_text(json.dumps(config))
    results = [{"view": "mdp", "seed": 0, "returns": [0.0, 0.1]}]
    (folder / "run" / "evaluation.json").write_text(json.dumps({"results": results}))
    found, _ = reading.read_results([folder])
    assert {result.env_id for result in found} == {"SkittlesEasy", "NavigatorEasy", "TetrisEasy"}


def test_runs_that_differ_in_seeds_are_one_entry(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    def write(seed: int, name: str, **settings: Any) -> None:
        folder = tmp_path / "runs" / name
        folder.mkdir(parents=True)
        plain = {"algorithm": "pqn", "env_id": "NavigatorEasy", "env_version": 1, "view": "pomdp", "memory": "gru"}
        sizes = {"num_envs": 64, "num_steps": 32, "total_timesteps": 5e5}
        config = {**plain, **sizes, "seed": seed, "num_seeds": 1, **settings}
        result = {"seed": seed, "view": "pomdp", "returns": [0.1 * seed] * 256}
        content = {"config": config, "results": [result], "train_seconds": 2.0, "versions": {"jax": "1"}}
        for file, each in (("config.json", config), ("evaluation.json", content)):
            (folder / file).write_text(json.dumps(each))

    for seed in (2, 0, 1):
        write(seed, f"run-{seed}")
    out = ["--out", str(tmp_path / "out")]
    assert cli.main(["export-result", str(tmp_path / "runs"), *out]) == 0
    (path,) = (tmp_path / "out").iterdir()
    content = json.loads(path.read_text())
    assert path.name == "NavigatorEasy-pomdp-pqn-gru.json" and content["train_seconds"] == 6
    assert content["config"]["seed"] == 0 and content["config"]["num_seeds"] == 3
    assert [result.mean for result in reading.read_results([path])[0]] == pytest.approx([0, 0.1, 0.2])
    assert cli.main(["check-result", str(path)]) == 0

    # Seeds that are trained later join them, and nothing that is there is lost.
    runs = tmp_path / "runs"
    write(3, "run-3")
    for _ in range(2):
        assert cli.main(["export-result", str(runs / "run-3"), *out]) == 0
    content = json.loads(path.read_text())
    assert content["config"]["num_seeds"] == 4 and content["train_seconds"] == 8
    assert cli.main(["check-result", str(path)]) == 0
    capsys.readouterr()
    for seed, settings, complaint in (
        (5, {}, "it has the seeds 0, 1, 2, 3, to which 5 are not the next"),
        (4, {"memory_size": 7}, "it was made with another memory_size"),
        (4, {"env_version": 0}, "it was made with another env_version"),
        (3, {"total_timesteps": 7e5}, "it was made with another total_timesteps"),
    ):
        write(seed, "other", **settings)
        assert cli.main(["export-result", str(runs / "other"), *out]) == 1
        assert complaint in capsys.readouterr().err
        shutil.rmtree(runs / "other")
    assert json.loads(path.read_text()) == content
    fewer = content | {"seeds": [{"seed": seed, "returns": [0.0] * 4} for seed in range(4)]}
    with pytest.raises(ValueError, match="more episodes"):
        entry.joined(content, fewer)
    assert entry.joined(fewer, content) == content

    write(2, "again")
    assert cli.main(["export-result", str(tmp_path / "runs"), *out]) == 1
    assert "the seeds are 0, 1, 2, 2, 3, one of them is there twice" in capsys.readouterr().err
    (tmp_path / "runs" / "again" / "config.json").unlink()
    (tmp_path / "runs" / "again" / "evaluation.json").unlink()
    write(2, "other", layers=1)
    assert cli.main(["export-result", str(tmp_path / "runs"), *out]) == 1
    assert "which differ in their settings" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({}, None),
        ({"view": "both"}, "view must be mdp or pomdp"),
        ({"env_id": "NavigatorEazy"}, "there is no environment"),
        ({"env_version": 0}, "it was made under version 0 of the rules"),
        ({"observation_only": False}, "observation_only must be true"),
        ({"policy": "sampled"}, "policy must be greedy"),
        ({"steps": "many"}, "steps must be a number"),
        ({"steps": True}, "steps must be a number"),
        ({"seeds": []}, "at least 3 seeds, got 0"),
        ({"seeds": [{"seed": i, "returns": [0.5] * 9} for i in range(3)]}, "at least 256 returns, got 9"),
        ({"seeds": [{"seed": i, "returns": [1.5] * 256} for i in range(3)]}, "numbers from -1 to 1, undiscounted, got 1.5"),
        ({"seeds": [{"seed": 0, "returns": [float("nan")] * 256}] * 3}, "got nan"),
        ({"seeds": [1, 2, 3]}, "each of seeds must have a seed"),
        ({"code": 3}, "code must be an address"),
        ({"score": 1}, "there is nothing of the name score"),
        ({"config": {"algorithm": "pqn", "env_id": "NavigatorEasy"}}, "algorithm is own, in config pqn"),
        ({"config": {"algorithm": "pqm"}}, "config: "),
        (
            {"config": {"algorithm": "pqn", "env_id": "NavigatorEasy", "num_seeds": 5}},
            "seeds are 0, 1, 2, by config 0, 1, 2, 3, 4",
        ),
        ({"config": {"algorithm": "pqn", "env_id": "NavigatorEasy", "env_version": 0}}, "env_version is 1, in config 0"),
        ({"code": "nothing"}, "code must be an address"),
        ({"steps": 0}, "steps must be the steps of training"),
        ({"steps": float("inf")}, "steps must be a number of at least 0, got inf"),
        ({"train_seconds": -1}, "train_seconds must be a number of at least 0, got -1"),
        ({"env_id": []}, "env_id must be the name of an environment"),
        ({"seeds": [{"seed": i, "returns": [10**400] * 256} for i in range(3)]}, "numbers from -1 to 1"),
        ({"seeds": [{"seed": i, "returns": [[0.5]] * 256} for i in range(3)]}, "numbers from -1 to 1"),
        ({"seeds": [{"seed": 2, "returns": [0.5] * 256}] * 3}, "one of them is there twice"),
        ({"seeds": [{"seed": -1, "returns": [0.5] * 256}]}, "seeds must be from 0 to 4294967295, got -1"),
        (
            {"seeds": [{"seed": 0, "returns": [0.5], "curve": {"steps": [1], "returns": []}}]},
            "a curve must be steps, returns, ",
        ),
        ({"seeds": [{"seed": 0, "returns": [0.5], "curve": {"steps": [None]}}]}, "a curve must be steps, returns, "),
        ({"seeds": [{"seed": 0, "returns": [0.5], "curve": None}]}, "a curve must be steps, returns, "),
    ],
)
def test_rules_of_admission(changes: dict[str, Any], complaint: str | None) -> None:
    found = entry.check(made("NavigatorEasy", "pomdp", "gru", 0.5) | changes)
    assert found == [] if complaint is None else any(complaint in each for each in found), found


def test_a_person(folder: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    header = {"format": 1, "game": "SkittlesEasy", "env_version": 0, "obs_size": 128}
    episodes = [
        ("POMDP", "terminated", 0.4),
        ("POMDP", "truncated", 1.0),
        ("both", "terminated", 0.9),
        ("POMDP", "left", 0.1),
    ]
    lines: list[dict[str, Any]] = [header]
    for seed, (view, end, total) in enumerate(episodes):
        lines += [{"seed": seed}, {"action": 2, "reward": 0.01, "view": view}]
        lines += [{"end": end, "total": total, "steps": 1, "state": "0"}]
    logs = folder.parent / "logs"
    logs.mkdir()
    (logs / "first.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert cli.main(["export-result", "--logs", "logs", "--out", "person"]) == 0
    found = {result.partial_obs: result.returns.tolist() for result in reading.read_results([pathlib.Path("person")])[0]}
    assert found == {True: [0.4, 1.0], False: [0.9]}
    assert cli.main(["results", "table", "results", "person", "--memories", "person", "gru"]) == 0
    assert "person" in capsys.readouterr().out
    assert cli.main(["export-result"]) == 1
    assert "there is nothing to export" in capsys.readouterr().err


def test_rules_ask_for_all_that_is_needed(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    content = made("NavigatorEasy", "pomdp", "gru", 0.5)
    for name in content:
        assert entry.check({other: value for other, value in content.items() if other != name}), name
    assert entry.check([]) and entry.check(None)
    for name, each in (("good", json.dumps(content)), ("bad", "{}"), ("broken", "{")):
        (tmp_path / f"{name}.json").write_text(each)
    assert cli.main(["check-result", str(tmp_path)]) == 1
    out = capsys.readouterr().out
    assert "good.json: admitted" in out and "1 of 3 entries can be admitted" in out and "env_id is missing" in out
    assert cli.main(["check-result", str(tmp_path / "good.json")]) == 0


def test_the_results_of_the_repository() -> None:
    """Those that are committed, if there are any, keep the rules; a required run may still lack seeds."""
    for path in (pathlib.Path(__file__).parents[2] / "results").glob("*.json"):
        complaints = [each for each in entry.check(json.loads(path.read_text())) if "seeds, got" not in each]
        assert not complaints, path
        assert reading.read_results([path])[0]
