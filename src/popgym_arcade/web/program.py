"""Programs: jaxprs as one list of equations, with calls written out, keys as words and complex numbers as pairs."""

from collections.abc import Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.extend import core

from popgym_arcade.web.values import ARRAYS, UnsupportedError

_INLINED = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "remat2": "jaxpr"}
_INLINED |= {"checkpoint": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}
_SAME = {"optimization_barrier", "copy", "stop_gradient"}
# What is done to either part of a complex number by itself.
_PARTWISE = {"add", "sub", "neg", "select_n", "broadcast_in_dim", "slice", "squeeze", "transpose", "concatenate", "pad"}
_PARTWISE |= {"reshape", "dynamic_slice"}


class Array(NamedTuple):
    """The type of an array, or of a number."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


Atom = int | np.ndarray
"""The number of a variable, or a constant."""


class Pair(NamedTuple):
    """A complex variable or constant."""

    re: Atom
    im: Atom


class Equation(NamedTuple):
    """An equation of a program."""

    name: str
    """That of its primitive."""
    params: dict[str, Any]
    inputs: list[Atom]
    outputs: list[int]
    arrays: list[Array]
    """The types of the outputs."""
    given: list[Array]
    """The types of the inputs."""

    @property
    def dtype(self) -> np.dtype[Any]:
        """The dtype of the first output."""
        return self.arrays[0].dtype

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of the first output."""
        return self.arrays[0].shape


class Program(NamedTuple):
    """A jaxpr without calls, and without equations that nobody needs."""

    inputs: list[int]
    equations: list[Equation]
    outputs: list[Atom]


def flatten(closed: Any) -> Program:
    """Put the equations of a jaxpr, and of all that it calls, into one list.

    Raises:
        UnsupportedError: if it uses what JavaScript has no arrays for.
    """
    flat = _Flat()
    inputs = [flat.variable(parameter.aval, "an argument") for parameter in closed.jaxpr.invars]
    outputs = parts(flat.walk(closed.jaxpr, closed.consts, inputs))
    needed = {atom for atom in outputs if isinstance(atom, int)}
    kept = []
    for equation in reversed(flat.equations):
        if needed & set(equation.outputs):
            needed |= {atom for atom in equation.inputs if isinstance(atom, int)}
            kept.append(equation)
    return Program(parts(inputs), kept[::-1], outputs)


def parts(atoms: Sequence[Any]) -> list[Any]:
    """Write pairs out."""
    return [part for atom in atoms for part in (atom if isinstance(atom, Pair) else (atom,))]


class _Flat:
    def __init__(self) -> None:
        self.equations: list[Equation] = []
        self._arrays: list[Array] = []

    def variable(self, aval: Any, what: str) -> Any:
        """A new variable, or two for a complex one."""
        if is_complex(aval):
            return Pair(*(self._new(Array(np.dtype(np.float32), tuple(aval.shape))) for _ in range(2)))
        return self._new(array_of(aval, what))

    def _new(self, array: Array) -> int:
        self._arrays.append(array)
        return len(self._arrays) - 1

    def write(self, name: str, params: dict[str, Any], inputs: Sequence[Atom], arrays: Sequence[Array]) -> list[int]:
        """Add an equation, and return its outputs."""
        given = [
            self._arrays[atom] if isinstance(atom, int) else Array(np.asarray(atom).dtype, np.shape(atom)) for atom in inputs
        ]
        outputs = [self._new(array) for array in arrays]
        self.equations.append(Equation(name, params, list(inputs), outputs, list(arrays), given))
        return outputs

    def walk(self, jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Any]) -> list[Any]:
        """Add the equations of a jaxpr, and return its outputs."""
        known: dict[Any, Any] = dict(zip(jaxpr.constvars, map(_constant, constants), strict=True))
        known |= dict(zip(jaxpr.invars, arguments, strict=True))

        def read(atom: Any) -> Any:
            return _constant(np.asarray(atom.val, _dtype(atom.aval))) if isinstance(atom, core.Literal) else known[atom]

        for each in jaxpr.eqns:
            name, params, inputs = each.primitive.name, each.params, [read(atom) for atom in each.invars]
            if name in _SAME:
                outputs = inputs
            elif name in _INLINED:
                inner = params[_INLINED[name]]
                outputs = self.walk(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs)
            elif name == "platform_index":  # of what is done in different ways on different processors, ours is a CPU's
                names = [found is None or "cpu" in found for found in params["platforms"]]
                outputs = [np.asarray(names.index(True), np.int32)]
            elif name == "cond" and not isinstance(inputs[0], int):
                chosen = params["branches"][int(np.clip(inputs[0], 0, len(params["branches"]) - 1))]
                outputs = self.walk(chosen.jaxpr, chosen.consts, inputs[1:])
            elif any(is_complex(atom.aval) for atom in (*each.invars, *each.outvars)):
                outputs = [self._complex(name, params, inputs, tuple(each.outvars[0].aval.shape))]
            else:
                if each.invars and _is_key(each.invars[0].aval):
                    params = _of_words(name, params, len(each.outvars[0].aval.shape))
                outputs = self.write(name, params, inputs, [array_of(variable.aval, name) for variable in each.outvars])
            known |= dict(zip(each.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    def _complex(self, name: str, params: dict[str, Any], inputs: Sequence[Any], shape: tuple[int, ...]) -> Any:
        """Write the equations of the parts that stand for one of complex numbers."""

        def write(name: str, *inputs: Atom, **params: Any) -> int:
            return self.write(name, params, inputs, [Array(np.dtype(np.float32), shape)])[0]

        match name, inputs:
            case "complex", [re, im]:
                return Pair(re, im)
            case "real", [Pair(re, _)]:
                return re
            case "imag", [Pair(_, im)]:
                return im
            case "convert_element_type", [Pair()]:
                return inputs[0]
            case "convert_element_type", [x]:
                return Pair(write(name, x), np.zeros(shape, np.float32))
            case "exp", [Pair(re, im)]:
                size = write("exp", re)
                return Pair(write("mul", size, write("cos", im)), write("mul", size, write("sin", im)))
            case (("mul" | "dot_general"), [Pair() as x, Pair() as y]):
                re = write("sub", write(name, x.re, y.re, **params), write(name, x.im, y.im, **params))
                return Pair(re, write("add", write(name, x.re, y.im, **params), write(name, x.im, y.re, **params)))
        if name not in _PARTWISE:
            raise UnsupportedError(f"there is no rule for {name} of complex numbers")
        re, im = ([atom[part] if isinstance(atom, Pair) else atom for atom in inputs] for part in range(2))
        return Pair(write(name, *re, **params), write(name, *im, **params))


def _constant(value: Any) -> Any:
    value = np.asarray(value)
    return Pair(value.real, value.imag) if is_complex(value) else value


def is_complex(value: Any) -> bool:
    """Whether an array is of complex64."""
    return getattr(value, "dtype", None) == np.complex64


def _is_key(aval: Any) -> bool:
    return jnp.issubdtype(_dtype(aval), jax.dtypes.prng_key)


def _dtype(aval: Any) -> Any:
    return aval.dtype


def _of_words(name: str, params: dict[str, Any], axes: int) -> dict[str, Any]:
    """Return the params of an equation of keys for one of their words, which are a last axis."""
    if name.startswith("random_") or name in ("squeeze", "reshape"):
        return params
    if name == "slice":
        limits, steps = (*params["limit_indices"], 2), (*(params["strides"] or [1] * axes), 1)
        return {"start_indices": (*params["start_indices"], 0), "limit_indices": limits, "strides": steps}
    if name == "broadcast_in_dim":
        return params | {"broadcast_dimensions": (*params["broadcast_dimensions"], axes)}
    raise UnsupportedError(f"{name} of keys; use it on what random functions made of them")


def array_of(aval: Any, what: str) -> Array:
    """Return the type of an array; a key is two words.

    Raises:
        UnsupportedError: if it has none in JavaScript.
    """
    if _is_key(aval):
        if "fry" not in str(aval.dtype):
            raise UnsupportedError(f"keys must be those of threefry2x32, not {aval.dtype}")
        return Array(np.dtype(np.uint32), (*aval.shape, 2))
    if aval.dtype not in ARRAYS:
        raise UnsupportedError(f"{what} is of {aval.dtype}; JavaScript gets {', '.join(map(str, ARRAYS))}")
    return Array(np.dtype(aval.dtype), tuple(aval.shape))
