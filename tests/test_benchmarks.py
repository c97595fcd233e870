"""The benchmark for a device runs on a CPU, and goes on where it was."""

import json
import pathlib
import subprocess
import sys

SCRIPT = pathlib.Path(__file__).parent.parent / "benchmarks" / "device.py"


def test_a_curve_goes_on_where_it_was(tmp_path: pathlib.Path) -> None:
    small = ["CountRecallEasy", "--view", "pomdp", "--obs-size", "64", "--seconds", "0.001", "--out", str(tmp_path)]

    def run(first: int, last: int) -> dict[int, dict[str, float]]:
        command = [sys.executable, SCRIPT, *small, "--workers", str(last), "--powers", str(first), str(last)]
        assert "CountRecallEasy" in subprocess.run(command, check=True, capture_output=True, text=True, timeout=800).stdout
        (path,) = tmp_path.glob("device-*.json")
        assert path.with_suffix(".png").read_bytes().startswith(b"\x89PNG")
        return {each["num_envs"]: each for each in json.loads(path.read_text())["results"]}

    before = run(2, 2)
    assert all(before[4][name] > 0 for name in ("step", "rollout", "fill", "last_of_32"))
    after = run(1, 2)
    assert set(after) == {2, 4} and after[4] == before[4]
