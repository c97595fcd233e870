"""How much XLA optimises programs for a CPU, which takes most of their compile time; other devices keep their defaults."""

import jax

# Options of XLA, as `jax.jit` takes them.
_LEVEL, _FUSION_EMITTERS = "xla_backend_optimization_level", "xla_cpu_use_fusion_emitters"
_HAS_FUSION_EMITTERS = (0, 7) <= jax.__version_info__ < (0, 11)  # before and after there is no choice


def once() -> dict[str, int | bool] | None:
    """Return the options of the compiler for a program that runs once: none of its optimisations pays.

    Nor do fusions in MLIR, which compile slower than in LLVM's own language.
    """
    return _on_a_cpu({_LEVEL: 0} | ({_FUSION_EMITTERS: False} if _HAS_FUSION_EMITTERS else {}))


def often() -> dict[str, int | bool] | None:
    """Return the options for a program of products and copies, which more than the first level hardly makes faster."""
    return _on_a_cpu({_LEVEL: 1})


def _on_a_cpu(options: dict[str, int | bool]) -> dict[str, int | bool] | None:
    return options if jax.default_backend() == "cpu" else None
