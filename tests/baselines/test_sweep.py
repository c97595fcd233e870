import json
import pathlib
import shlex
from typing import Any

import pytest

from popgym_arcade import cli
from tests.baselines.test_training import SMALL, arguments

SWEEP = ["sweep", "pqn", "--env-ids", "AutoEncodeEasy", "--view", "pomdp", "--memories", "none-small", "--seeds", "0", "1"]


def rest() -> list[str]:
    own = ("env_id", "view", "memory")
    options = arguments({name: value for name, value in SMALL.items() if name not in own})
    return ["--", *options, "--no-video", "--no-tensorboard", "--eval-episodes", "2"]


def test_a_sweep(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = ["--folder", str(tmp_path / "sweep")]
    assert cli.main([*SWEEP, *folder, "--list", *rest()]) == 0
    lines = (tmp_path / "sweep" / "commands.txt").read_text().splitlines()
    assert len(lines) == 2
    # Any scheduler may run a line; then the sweep leaves it out.
    words = shlex.split(lines[0])
    assert words[0] == "popgym-arcade" and cli.main(words[1:]) == 0
    done = tmp_path / "sweep" / "AutoEncodeEasy-pomdp-pqn-none-small-seed0" / "evaluation.json"
    before = done.stat().st_mtime_ns
    assert cli.main(words[1:]) == 0
    capsys.readouterr()
    assert cli.main([*SWEEP, *folder, "--table", *rest()]) == 0
    assert capsys.readouterr().out.splitlines()[2].split()[:5] == ["AutoEncodeEasy", "POMDP", "none-small", "1", "of"]
    assert cli.main([*SWEEP, *folder, "--list", *rest(), "--hidden-size", "16"]) == 1
    assert "was trained with another hidden_size" in capsys.readouterr().err
    assert cli.main([*SWEEP, *folder, "--jobs", "2", *rest()]) == 0
    out = capsys.readouterr().out
    assert "2 of 2" in out and "100%" in out
    assert done.stat().st_mtime_ns == before
    means = [json.loads(path.read_text())["results"][0]["mean"] for path in (tmp_path / "sweep").glob("*/evaluation.json")]
    assert f"{sum(means) / 2:.3f}" in out


def test_options_are_varied(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    vary = ["--vary", "layers", "1", "2", "--vary", "memory-size", "8", "16"]
    command = ["sweep", "pqn", "--env-ids", "AutoEncodeEasy", "--view", "mdp", "--folder", str(tmp_path), *vary]
    assert cli.main([*command, "--list"]) == 0
    commands = [shlex.split(line) for line in (tmp_path / "commands.txt").read_text().splitlines()]
    found = [(words[words.index("--layers") + 1], words[words.index("--memory-size") + 1]) for words in commands]
    assert found == [("1", "8"), ("1", "16"), ("2", "8"), ("2", "16")]
    folders = {pathlib.Path(words[words.index("--run") + 1]).name for words in commands}
    assert len(folders) == 4 and "AutoEncodeEasy-mdp-pqn-none-layers1-memory_size16-seed0" in folders
    capsys.readouterr()
    assert cli.main([*command, "--table"]) == 0
    header = capsys.readouterr().out.splitlines()[0].split()
    assert header[:5] == ["environment", "view", "memory", "layers", "memory-size"]


def test_runs_of_several_seeds(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sweep", "pqn", "--env-ids", "AutoEncodeEasy", "--view", "mdp", "--folder", str(tmp_path)]
    command += ["--seeds", "3", "0"]
    assert cli.main([*command, "--list", "--", "--num-seeds", "3"]) == 0
    assert all("--num-seeds 3" in line for line in (tmp_path / "commands.txt").read_text().splitlines())
    capsys.readouterr()
    assert cli.main([*command, "--table", "--", "--num-seeds", "3"]) == 0
    assert "0 of 6" in capsys.readouterr().out
    assert cli.main([*command, "--list", "--", "--num-seeds", "4"]) == 1
    assert "the seeds 3 0 must be --num-seeds, 4, apart" in capsys.readouterr().err
    assert cli.main([*command, "0", "--list"]) == 1
    assert "one of the seeds 3 0 0 is there twice" in capsys.readouterr().err
    assert cli.main([*command, "--vary", "num-seeds", "1", "2", "--list"]) == 1
    assert "--num-seeds cannot be varied" in capsys.readouterr().err


def test_slurm(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    """A stand-in for sbatch runs the last job of the array, as a node would: by what the script says alone."""
    folder = ["--folder", str(tmp_path / "a sweep")]
    command = [*SWEEP, *folder, "--submit", "slurm", "--sbatch=--gres=gpu:1", "--jobs", "2", *rest()]
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    assert cli.main(command) == 1
    assert "there is no sbatch on this machine" in capsys.readouterr().err
    sbatch = tmp_path / "bin" / "sbatch"
    sbatch.parent.mkdir()
    sbatch.write_text('#!/bin/bash\nexport SLURM_ARRAY_TASK_ID=2\nbash "$1" > /dev/null && echo Submitted batch job 7\n')
    sbatch.chmod(0o755)
    monkeypatch.setenv("PATH", f"{sbatch.parent}:/usr/bin:/bin")
    assert cli.main(command) == 0
    assert "Submitted batch job 7" in capsys.readouterr().out
    script = (tmp_path / "a sweep" / "slurm.sh").read_text()
    assert "#SBATCH --array=1,2%2\n" in script and "#SBATCH --gres=gpu:1\n" in script
    finished = [path.parent.name for path in (tmp_path / "a sweep").glob("*/evaluation.json")]
    assert finished == ["AutoEncodeEasy-pomdp-pqn-none-small-seed1"]
    # Given again, what is finished is left out; what sbatch refuses is told.
    sbatch.write_text("#!/bin/bash\necho no such partition >&2; exit 1\n")
    assert cli.main(command) == 1
    assert "no such partition" in capsys.readouterr().err
    assert "#SBATCH --array=1%2\n" in (tmp_path / "a sweep" / "slurm.sh").read_text()
    assert cli.main([*SWEEP, *folder, "--list", "--submit", "slurm", *rest()]) == 0
    assert "wrote" in capsys.readouterr().out and "#SBATCH --array=1\n" in (tmp_path / "a sweep" / "slurm.sh").read_text()
    assert cli.main([*SWEEP, *folder, "--list", "--sbatch=--time=1", *rest()]) == 1
    assert "--sbatch is for --submit slurm" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (["--vary", "seed", "1"], "--seed is said by the sweep itself"),
        (["--vary", "layers"], "--vary layers needs values"),
        (["--vary", "layers", "1", "--vary", "layers", "2"], "--vary layers is there twice"),
        (["--submit", "slurm", "--sbatch=--array=1-3"], "leave out --array=1-3"),
        (["--submit", "slurm", "--sbatch=gpu"], "an option of sbatch must begin with -"),
        (["--submit", "slurm", "--sbatch=--comment=a\nrm b"], "on one line"),
        (["--vary", "layers", "1", "--", "--layers", "2"], "--layers is said by the sweep itself"),
        (["--env-ids", "NavigatorEazy"], "NavigatorEasy"),
        (["--memories", "lur"], "did you mean lru"),
        (["--", "--seed", "3"], "--seed is said by the sweep itself"),
    ],
)
def test_mistakes_are_found_before_anything_runs(
    words: Any, complaint: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    command = ["sweep", "pqn", "--env-ids", "AutoEncodeEasy", "--folder", str(tmp_path / "sweep"), *words]
    assert cli.main(command) == 1
    assert complaint in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    ("option", "complaint"), [("--preset=gpu", "invalid choice 'gpu'"), ("--gama=1", "Unrecognized options: --gama")]
)
def test_train_explains_its_options(
    option: str, complaint: str, tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        cli.main(["sweep", "pqn", "--env-ids", "AutoEncodeEasy", "--folder", str(tmp_path / "sweep"), "--", option])
    assert complaint in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_command_that_fails(tmp_path: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
    command = ["sweep", "pqn", "--env-ids", "AutoEncodeEasy", "--view", "mdp", "--folder", str(tmp_path)]
    assert cli.main([*command, "--", "--obs-size", "64", "--minibatches", "7"]) == 1
    output = tmp_path / "output" / "AutoEncodeEasy-mdp-pqn-none-seed0.txt"
    assert str(output) in capsys.readouterr().out
    assert "must be a multiple" in output.read_text()
