import socket
import subprocess
import sys


def run(code: str) -> str:
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, timeout=120, check=False
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_import_starts_no_backend() -> None:
    run(
        "import popgym_arcade, popgym_arcade.experts, popgym_arcade.testing, popgym_arcade.cli\n"
        "env, params = popgym_arcade.make('NavigatorEasy')\n"
        "from jax._src import xla_bridge\n"
        "assert not xla_bridge.backends_are_initialized()\n"
    )


def test_distributed_can_still_be_initialized() -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    run(
        "import popgym_arcade, jax\n"
        "popgym_arcade.make('CartPoleEasy')\n"
        f"jax.distributed.initialize('127.0.0.1:{port}', num_processes=1, process_id=0)\n"
    )


def test_the_core_needs_jax_and_numpy_alone() -> None:
    run(
        "import sys\n"
        "import jax, jax.numpy\n"
        "before = {name.partition('.')[0] for name in sys.modules}\n"
        "import popgym_arcade, popgym_arcade.experts, popgym_arcade.testing\n"
        "import popgym_arcade.wrappers, popgym_arcade.adapters\n"
        "new = {name.partition('.')[0] for name in sys.modules} - before - set(sys.stdlib_module_names)\n"
        "assert new == {'popgym_arcade'}, new\n"
    )


def test_the_public_names_of_the_baselines() -> None:
    run(
        "import sys\n"
        "from popgym_arcade import baselines\n"
        "assert not {'equinox', 'optax'} & set(sys.modules)\n"
        "for name in baselines.__all__: assert callable(getattr(baselines, name)), name\n"
        "from popgym_arcade.baselines import *\n"
        "assert callable(evaluate) and callable(train)\n"
    )


def test_gymnasium_alone_imports_no_jax() -> None:
    run("import sys, gymnasium\nassert not {'jax', 'popgym_arcade'} & set(sys.modules)")
