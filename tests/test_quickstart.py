"""The quickstart notebook runs from top to bottom, and is kept without outputs."""

import json
import os
import pathlib
import re
import subprocess
import sys
import venv

import pytest

ROOT = pathlib.Path(__file__).parent.parent
NOTEBOOK = ROOT / "docs" / "quickstart.ipynb"
CODE = [cell for cell in json.loads(NOTEBOOK.read_text())["cells"] if cell["cell_type"] == "code"]


def test_it_is_kept_without_outputs() -> None:
    assert len(CODE) > 5
    assert all(cell["outputs"] == [] and cell["execution_count"] is None for cell in CODE)


def test_its_code_runs(tmp_path: pathlib.Path) -> None:
    # What only notebooks understand: the installation, which is skipped where the package is there.
    lines = [re.sub(r"^( *)%pip .*", r"\1pass", line.rstrip("\n")) for cell in CODE for line in cell["source"]]
    script = tmp_path / "quickstart.py"
    script.write_text("\n".join(lines))
    command = [sys.executable, str(script)]
    environment = os.environ | {"MPLBACKEND": "agg"}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=800)
    assert done.returncode == 0, done.stderr
    assert "frames per second" in done.stdout and "memory score" in done.stdout and "model.eqx" in done.stdout
    assert (tmp_path / "saliency.png").exists()


@pytest.mark.slow
def test_it_runs_in_a_fresh_environment(tmp_path: pathlib.Path) -> None:
    venv.create(tmp_path / "venv", with_pip=True)
    programs = tmp_path / "venv" / "bin"
    environment = {name: value for name, value in os.environ.items() if name not in ("PYTHONPATH", "MPLBACKEND")}
    needed = [f"{ROOT}[baselines]", "ipykernel", "nbclient"]
    subprocess.run(
        [programs / "python", "-m", "pip", "install", "--quiet", *needed], env=environment, timeout=1500, check=True
    )
    copy = tmp_path / NOTEBOOK.name
    copy.write_bytes(NOTEBOOK.read_bytes())
    execute = [programs / "jupyter-execute", "--inplace", copy]
    subprocess.run(execute, cwd=tmp_path, env=environment, timeout=1500, check=True)
    kinds = [output["output_type"] for cell in json.loads(copy.read_text())["cells"] for output in cell.get("outputs", ())]
    assert "display_data" in kinds and "execute_result" in kinds and "error" not in kinds
