"""The commands, with an agent in place of a run."""

import csv
import pathlib
import sys
from typing import Any

import pytest

import popgym_arcade.baselines
from popgym_arcade import cli, scores
from popgym_arcade.introspection import subject
from tests.introspection import known
from tests.introspection.test_measures import write_run


@pytest.fixture(autouse=True)
def _runs(monkeypatch: pytest.MonkeyPatch, tmp_path: pathlib.Path) -> None:
    def load(run: pathlib.Path, seed: int | None = None) -> Any:
        if not run.name.startswith("RUN"):
            raise FileNotFoundError(f"there is no run in {run}")
        view = "pomdp" if run.name.endswith("POMDP") else "mdp"
        config = known.config("MineSweeperEasy", view=view, seed=seed or 0)
        return known.small("gru", seed=seed or 0), config

    monkeypatch.setattr(popgym_arcade.baselines, "load", load, raising=False)
    monkeypatch.setattr(subject, "about_run", lambda run: subject.described(load(run)[1]))
    monkeypatch.chdir(tmp_path)


def table(path: str) -> list[dict[str, str]]:
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def test_saliency(capsys: pytest.CaptureFixture[str]) -> None:
    name = "MineSweeperEasy-mdp-gru-seed0-saliency"
    assert cli.main(["introspect", "saliency", "RUN", "--steps", "3", "--target", "chosen"]) == 0
    assert capsys.readouterr().out == f"wrote {name}.png and {name}.csv\n"
    rows = table(f"{name}.csv")
    assert len(rows) == 6 * 5 and all(float(row["l1"]) > 0 and float(row["squared_l2"]) > 0 for row in rows)


def test_density(capsys: pytest.CaptureFixture[str]) -> None:
    name = "MineSweeperEasy-mdp-gru-seed1-2-density"
    arguments = ["--episodes", "2", "--seed", "1", "2"]
    assert cli.main(["introspect", "density", "RUN", *arguments]) == 0
    out = capsys.readouterr().out
    assert "share of the recall" in out and f"wrote {name}.png and {name}.csv" in out
    rows = table(f"{name}.csv")
    assert [(row["seed"], row["episode"]) for row in rows] == [("1", "0"), ("1", "1"), ("2", "0"), ("2", "1")]
    for row in rows:
        assert sum(float(row[f"{name}_third"]) for name in ("first", "middle", "last")) == pytest.approx(1, abs=1e-4)
        assert sum(float(cell) for name, cell in row.items() if name.startswith("tau_")) == pytest.approx(1, abs=1e-4)


def test_densities_of_several_games(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["introspect", "density", "RUN", "RUN-POMDP", "--episodes", "2"]) == 0
    assert "wrote density.png and density.csv" in capsys.readouterr().out
    assert [row["view"] for row in table("density.csv")] == ["MDP", "MDP", "POMDP", "POMDP"]
    assert cli.main(["introspect", "density", "RUN", "RUN2", "--episodes", "2"]) == 1
    assert "is there twice: in RUN and in RUN2" in capsys.readouterr().err


def test_contamination(capsys: pytest.CaptureFixture[str]) -> None:
    arguments = ["--steps", "6", "--episodes", "2", "--draws", "2", "--prefix", "3", "--prefix", "9", "-o", "c.pdf"]
    arguments += ["--sigma", "0.1", "1"]
    assert cli.main(["introspect", "contamination", "RUN", *arguments]) == 0
    out = capsys.readouterr().out
    assert "episode 0 has 6 frames: no prefix of 9 is shuffled in it" in out and "first frames shuffled" in out
    rows = [row for row in table("c.csv") if row["episode"] == "1"]
    for sigma in ("0.1", "1"):
        assert sum(row["change"] == f"noise in one frame, sigma {sigma}" for row in rows) == 21
    shuffled = [row for row in rows if row["change"] == "first frames shuffled"]
    assert [(row["first"], row["decision"]) for row in shuffled] == [("3", "3"), ("3", "4"), ("3", "5")]
    assert all(float(row["moved"]) > 0 for row in rows)


def test_gap(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    write_run(tmp_path / "runs" / "a", "gru", False, [0.5, 0.6])
    write_run(tmp_path / "runs" / "b", "gru", True, [0.1, 0.2])
    assert cli.main(["introspect", "gap", "runs"]) == 0
    out = capsys.readouterr().out
    assert "not counted: 4 results on views that runs were not trained on" in out
    assert "a memory bias needs runs" in out and "observability gap" in out
    rows = table("gap.csv")
    assert [(row["measure"], row["env_id"]) for row in rows] == [
        ("observability gap", "NavigatorEasy"),
        ("return in the POMDP", "NavigatorEasy"),
    ]
    zero, one = scores.scale("NavigatorEasy", partial_obs=False)
    assert float(rows[0]["value"]) == pytest.approx(0.4 / (one - zero), rel=1e-4)
    assert cli.main(["introspect", "gap", "runs/a"]) == 1
    assert "there is nothing to compare" in capsys.readouterr().err
    assert cli.main(["introspect", "gap", "skittles-lru"]) == 1  # comes with the package
    assert "there is nothing to compare" in capsys.readouterr().err


def test_report(capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(["introspect", "report", "RUN", "--steps", "2", "--twin", "RUN-POMDP", "-o", "r.html"]) == 0
    assert capsys.readouterr().out == "wrote r.html\n"
    page = pathlib.Path("r.html").read_text()
    assert "<!doctype html>" in page and "http" not in page
    assert cli.main(["introspect", "report", "nowhere", "-o", "r.png"]) == 1
    assert "must end in .html" in capsys.readouterr().err
    assert cli.main(["introspect", "report", "RUN", "--twin", "RUN-again"]) == 1
    assert "the second agent must play the other view" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "complaint"),
    [
        (["salience", "RUN"], "MEASURE: invalid choice: 'salience'"),
        (["RUN"], "MEASURE: invalid choice: 'RUN'"),
        (["saliency"], "required: RUN"),
        (["density", "nowhere"], "there is no run in nowhere"),
        (["saliency", "nowhere", "--target", "som"], "unknown target 'som'; did you mean sum or chosen?"),
        (["saliency", "nowhere", "--target", "7"], "must be from 0 to 4, got 7"),
        (["saliency", "RUN", "--steps", "0"], "must be at least 1, got 0"),
        (["density", "nowhere", "-o", "density.jpg"], "must end in .png, .pdf, .svg"),
        (["density", "nowhere", "-o", "/dev/null/density.png"], "/dev/null/density.png"),
        (["density", "nowhere", "-o", "/proc/density.png"], "/proc/density.png"),
        (["contamination", "RUN", "--sigma", "-1"], "must be from 0.001 to 1000"),
        (["gap"], "required"),
        (["gap", "nowhere"], "nowhere is no run"),
        ([], "required"),
    ],
)
def test_bad_arguments(arguments: list[str], complaint: str, capsys: pytest.CaptureFixture[str]) -> None:
    try:
        status: Any = cli.main(["introspect", *arguments])
    except SystemExit as stop:
        status = stop.code
    assert status in (1, 2)
    assert complaint in capsys.readouterr().err


def test_without_matplotlib(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.delitem(sys.modules, "popgym_arcade.introspection.figures", raising=False)
    monkeypatch.delattr("popgym_arcade.introspection.figures", raising=False)
    monkeypatch.delitem(sys.modules, "popgym_arcade.figures", raising=False)
    monkeypatch.setitem(sys.modules, "matplotlib", None)
    assert cli.main(["introspect", "saliency", "RUN"]) == 1
    assert capsys.readouterr().err == "popgym-arcade: figures need matplotlib: pip install 'popgym-arcade[baselines]'\n"
