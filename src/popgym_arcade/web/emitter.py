"""From jaxprs to JavaScript: an ES module over typed arrays that computes what JAX does.

A function is traced, its jaxpr flattened into one list of equations, and each of these written by the rule that
`primitives` has for it. A number becomes a `const`. An array is kept as the expression of its elements, and is stored in a
loop of its own only where it is read more than once: so chains of elementwise operations become one loop, and what only
moves elements about becomes an index. Buffers are allocated once, for good. An update of a slice is made in place where
nobody needs the array as it was.
"""

import base64
import contextlib
import inspect
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import jax
import numpy as np
from jax.extend import core

from popgym_arcade.web import primitives
from popgym_arcade.web.values import ARRAYS, Index, UnsupportedError, Value, constant, literal, stored

_INLINED = {"jit": "jaxpr", "pjit": "jaxpr", "closed_call": "call_jaxpr", "core_call": "call_jaxpr", "remat2": "jaxpr"}
_INLINED |= {"checkpoint": "jaxpr", "custom_jvp_call": "call_jaxpr", "custom_vjp_call": "call_jaxpr"}
_SAME = {"optimization_barrier", "copy", "copy_p", "stop_gradient"}


class Array(NamedTuple):
    """The type of an array, or of a number."""

    dtype: np.dtype[Any]
    shape: tuple[int, ...]


Atom = int | np.ndarray
"""The number of a variable, or a constant."""


class Equation(NamedTuple):
    """An equation of a flat list."""

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
    """Put the equations of a jaxpr, and of all that it calls, into one list."""
    equations: list[Equation] = []
    count = 0

    def fresh() -> int:
        nonlocal count
        count += 1
        return count

    def walk(jaxpr: Any, constants: Sequence[Any], arguments: Sequence[Atom]) -> list[Atom]:
        known: dict[Any, Atom] = dict(zip(jaxpr.constvars, map(np.asarray, constants), strict=True))
        known |= dict(zip(jaxpr.invars, arguments, strict=True))

        def read(atom: Any) -> Atom:
            return np.asarray(atom.val, atom.aval.dtype) if isinstance(atom, core.Literal) else known[atom]

        for each in jaxpr.eqns:
            name, params, inputs = each.primitive.name, each.params, [read(atom) for atom in each.invars]
            if name in _SAME:
                outputs: list[Atom] = inputs
            elif name in _INLINED:
                inner = params[_INLINED[name]]
                outputs = walk(getattr(inner, "jaxpr", inner), getattr(inner, "consts", ()), inputs)
            elif name == "platform_index":  # of what XLA's backends do in different ways, ours is the CPU's
                outputs = [np.int32(next(i for i, found in enumerate(params["platforms"]) if found is None or "cpu" in found))]
            elif name == "cond" and not isinstance(inputs[0], int):
                chosen = params["branches"][int(np.clip(inputs[0], 0, len(params["branches"]) - 1))]
                outputs = walk(chosen.jaxpr, chosen.consts, inputs[1:])
            else:
                outputs = [fresh() for _ in each.outvars]
                arrays = [_array(variable.aval, name) for variable in each.outvars]
                given = [_array(atom.aval, name) for atom in each.invars]
                if _is_key(each.invars[0].aval if each.invars else None):
                    params = _of_words(name, params, len(each.outvars[0].aval.shape))
                equations.append(Equation(name, params, inputs, list(outputs), arrays, given))  # pyright: ignore
            known |= dict(zip(each.outvars, outputs, strict=True))
        return [read(atom) for atom in jaxpr.outvars]

    inputs = [fresh() for _ in closed.jaxpr.invars]
    outputs = walk(closed.jaxpr, closed.consts, inputs)
    needed = {atom for atom in outputs if isinstance(atom, int)}
    kept = []
    for equation in reversed(equations):
        if needed & set(equation.outputs):
            needed |= {atom for atom in equation.inputs if isinstance(atom, int)}
            kept.append(equation)
    return Program(inputs, kept[::-1], outputs)


def _is_key(aval: Any) -> bool:
    return jax.dtypes.issubdtype(getattr(aval, "dtype", None), jax.dtypes.prng_key)


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


def _array(aval: Any, name: str) -> Array:
    if _is_key(aval):  # two words
        if "fry" not in str(aval.dtype):
            raise UnsupportedError(f"keys must be those of threefry2x32, not {aval.dtype}")
        return Array(np.dtype(np.uint32), (*aval.shape, 2))
    if aval.dtype not in ARRAYS:
        raise UnsupportedError(f"{name} uses {aval.dtype}; JavaScript gets {', '.join(map(str, ARRAYS))}")
    return Array(np.dtype(aval.dtype), tuple(aval.shape))


class Module:
    """An ES module, function by function."""

    def __init__(self, runtime: str = "./runtime.js") -> None:
        self._runtime = runtime
        self._constants: dict[tuple[str, bytes], str] = {}
        self._stored: list[np.ndarray] = []
        self._parts: list[str] = []
        self._lines: list[str] = []
        self._allocated: list[str] = []
        self._depth = 0
        self._names = Counter[str]()
        self._owned: set[str] = set()
        self._live: list[Value] = []

    def add(self, name: str, function: Callable[..., Any], *arguments: Any, doc: str = "") -> None:
        """Export a function.

        Args:
            name: what it is called in JavaScript.
            function: anything that JAX can trace. Its arguments are called there as here.
            arguments: pytrees like those that it will be given: numbers and arrays, or their types. Dataclasses and dicts
                become objects, tuples and lists arrays, arrays typed arrays, flat in C order.
            doc: a comment.

        Raises:
            UnsupportedError: if it does something that cannot be written.
        """
        if not jax.config.jax_threefry_partitionable:  # pyright: ignore[reportAttributeAccessIssue]
            raise UnsupportedError("random bits are those of jax_threefry_partitionable, which is switched off")
        try:
            closed, shapes = jax.make_jaxpr(function, return_shape=True)(*arguments)
            program = flatten(closed)
            given: list[Value] = []
            names = list(inspect.signature(function).parameters)[: len(arguments)]
            self._lines, self._allocated, self._depth = [], [], 1
            paths = jax.tree_util.tree_leaves_with_path(tuple(arguments))
            for (path, _), variable in zip(paths, closed.jaxpr.invars, strict=True):
                array = _array(variable.aval, name)
                expression = names[path[0].idx] + "".join(_step(key) for key in path[1:])
                if array.shape:
                    given.append(stored(array.dtype, array.shape, self._let(expression)))
                else:
                    given.append(self.number(array.dtype, expression))
            answers = self.block(program, given)
        except UnsupportedError as error:
            raise UnsupportedError(f"{name} cannot be exported: {error}") from None
        leaves = [self._answer(value) for value in answers]
        self.line(f"return {_literal_of(shapes, leaves)};")
        head = "".join(f"// {line}\n" for line in doc.splitlines())
        body = "\n".join([*self._allocated, f"{head}export function {name}({', '.join(names)}) {{", *self._lines, "}"])
        self._parts.append(body)

    def text(self, text: str) -> None:
        """Add JavaScript as it is."""
        self._parts.append(text.strip())

    def source(self, about: str = "") -> str:
        """Return the text of the module."""
        helpers = ", ".join(primitives.HELPERS)
        head = [f"// {about}"] if about else []
        head += [f'import {{ unpack, {helpers} }} from "{self._runtime}";', primitives.MATHS]
        if self._stored:
            kinds = ", ".join(f"[{ARRAYS[array.dtype]}, {array.size}]" for array in self._stored)
            packed = zlib.compress(b"".join(array.tobytes() for array in self._stored), 9)
            head.append(f"const [{', '.join(f'c{n}' for n in range(len(self._stored)))}] = await unpack(")
            head.append(f'  [{kinds}],\n  "{base64.b64encode(packed).decode()}",\n);')
        return "\n".join(head) + "\n\n" + "\n\n".join(self._parts) + "\n"

    # What rules write with.

    def line(self, text: str) -> None:
        """Write a line."""
        self._lines.append("  " * self._depth + text)

    @contextlib.contextmanager
    def braces(self, head: str) -> Iterator[None]:
        """Write what is written meanwhile into braces."""
        self.line(f"{head} {{")
        self._depth += 1
        yield
        self._depth -= 1
        self.line("}")

    @contextlib.contextmanager
    def loops(self, shape: Sequence[int], head: str = "for (let {i} = 0; {i} < {n}; {i}++)") -> Iterator[list[Index]]:
        """Write what is written meanwhile into loops over all indices of a shape, the last one fastest."""
        with contextlib.ExitStack() as stack:
            index: list[Index] = []
            for length in shape:
                index.append(0 if length == 1 else self.name("i"))
                if length != 1:
                    stack.enter_context(self.braces(head.format(i=index[-1], n=length)))
            yield index

    def name(self, prefix: str) -> str:
        """Return a name that is not taken."""
        self._names[prefix] += 1
        return f"{prefix}{self._names[prefix]}"

    def _let(self, expression: str, keyword: str = "const", prefix: str = "v") -> str:
        name = self.name(prefix)
        self.line(f"{keyword} {name} = {expression};")
        return name

    def number(self, dtype: Any, expression: str, keyword: str = "const") -> Value:
        """Keep a number."""
        return constant(dtype, (), self._let(expression, keyword))

    def buffer(self, dtype: Any, shape: Sequence[int]) -> Value:
        """Allocate a buffer for an array."""
        name = self.name("b")
        kept = stored(dtype, shape, name)
        self._allocated.append(f"const {name} = new {ARRAYS[kept.dtype]}({kept.size});")
        self._owned.add(name)
        return kept

    def constant(self, array: np.ndarray) -> Value:
        """Keep an array that is known at export, once in a module."""
        array = np.ascontiguousarray(array).reshape(np.shape(array))
        if array.dtype not in ARRAYS:
            raise UnsupportedError(f"a constant is {array.dtype}; JavaScript gets {', '.join(map(str, ARRAYS))}")
        if array.size > 0 and np.all(array == array.flat[0]):
            return constant(array.dtype, array.shape, literal(array.flat[0]))
        key = str(array.dtype), array.tobytes()
        if key not in self._constants:
            self._constants[key] = f"c{len(self._stored)}"
            self._stored.append(array)
        return stored(array.dtype, array.shape, self._constants[key])

    def store(self, value: Value) -> Value:
        """Keep an array in one piece; what lies in one piece already is left where it is."""
        return value if value.is_whole or not value.shape else self.copy(value)

    def copy(self, value: Value) -> Value:
        """Put an array into a new buffer."""
        kept = self.buffer(value.dtype, value.shape)
        self.fill(kept, value)
        return kept

    def fill(self, target: Value, source: Value) -> None:
        """Write an array over another one of the same shape."""
        if not target.shape:
            self.line(f"{target.at(())} = {source.at(())};")
        elif target.is_whole and source.is_whole and target.place and source.place:
            self.line(f"{target.place.buffer}.set({source.place.buffer});")
        else:
            target, source = _merged(target, source)
            if box := _box(target, source):
                self.line(f"paste({box});")
                return
            with self.loops(target.shape) as index:
                self.line(f"{target.at(index)} = {source.at(index)};")

    def own(self, value: Value) -> Value:
        """Return the array in a buffer that may be written: its own, if nobody reads that afterwards, else a new one."""
        name = value.place.buffer if value.is_whole and value.place else ""
        is_free = name in self._owned and not any(name in other.reads for other in self._live)
        return value if is_free else self.copy(value)

    def block(self, program: Program, given: Sequence[Value]) -> list[Value]:
        """Write the equations of a program, and return its outputs, which are stored or numbers."""
        outer_owned, self._owned = self._owned, set()
        outer_live, self._live = self._live, []
        users: dict[int, list[Equation]] = {}
        for equation in program.equations:
            for atom in equation.inputs:
                if isinstance(atom, int):
                    users.setdefault(atom, []).append(equation)
        left = {number: len(found) for number, found in users.items()}
        kept = {atom for atom in program.outputs if isinstance(atom, int)}
        values: dict[int, Value] = {}

        def settle(number: int, value: Value) -> Value:
            """Decide whether a value is stored now, or its expression put where it is read."""
            if value.is_cheap:
                return value
            if not value.shape:
                return self.number(value.dtype, value.at(()))
            found = users.get(number, [])
            if len(found) == 1 and number not in kept and primitives.reads_once(found[0], value):
                return value
            return self.store(value)

        def read(atom: Atom) -> Value:
            return values[atom] if isinstance(atom, int) else self.constant(atom)

        for number, value in zip(program.inputs, given, strict=True):
            values[number] = settle(number, value)
        for equation in program.equations:
            inputs = [read(atom) for atom in equation.inputs]
            for atom in equation.inputs:
                if isinstance(atom, int):
                    left[atom] -= 1
            self._live = [value for number, value in values.items() if left.get(number) or number in kept]
            outputs = primitives.rule(equation).write(self, equation, *inputs)
            outputs = [outputs] if isinstance(outputs, Value) else outputs
            for number, value in zip(equation.outputs, outputs, strict=True):
                values[number] = settle(number, value)
        answers = [self.store(read(atom)) for atom in program.outputs]
        self._owned, self._live = outer_owned, outer_live
        return answers

    def _answer(self, value: Value) -> str:
        """The expression of an output: arrays are the caller's own."""
        if not value.shape:
            return f"Boolean({value.at(())})" if value.dtype == bool else value.at(())
        kept = value if value.is_whole and value.place else self.copy(value)
        assert kept.place
        return f"{kept.place.buffer}.slice()"


def _merged(target: Value, source: Value) -> tuple[Value, Value]:
    """Take axes together along which both arrays go on in equal steps: fewer loops, and longer ones."""
    if target.place is None or source.place is None:
        return target, source
    shape, here, there = [target.shape[-1]], [target.place.strides[-1]], [source.place.strides[-1]]
    for length, stride, other in zip(
        target.shape[-2::-1], target.place.strides[-2::-1], source.place.strides[-2::-1], strict=True
    ):
        if stride == here[0] * shape[0] and other == there[0] * shape[0]:
            shape[0] *= length
        else:
            shape.insert(0, length)
            here.insert(0, stride)
            there.insert(0, other)
    places = target.place._replace(strides=tuple(here)), source.place._replace(strides=tuple(there))
    return stored(target.dtype, shape, places[0]), stored(source.dtype, shape, places[1])


def _box(target: Value, source: Value) -> str:
    """The arguments of `paste`, if rows are to be copied as they are; else "". """
    here, there = target.place, source.place
    if not here or not there or len(target.shape) != 2 or target.dtype != source.dtype:
        return ""
    if here.strides[1] != 1 or there.strides[1] != 1:
        return ""
    rows, length = target.shape
    ends = f"{here.buffer}, {here.offset}, {here.strides[0]}, {there.buffer}, {there.offset}, {there.strides[0]}"
    return f"{ends}, {rows}, {length}"


def _step(key: Any) -> str:
    match key:
        case jax.tree_util.GetAttrKey(name) | jax.tree_util.DictKey(name):
            return f".{name}"
        case jax.tree_util.SequenceKey(number):
            return f"[{number}]"
    raise UnsupportedError(f"arguments and results are dataclasses, dicts, tuples and lists of arrays, not {key}")


def _literal_of(shapes: Any, leaves: Sequence[str]) -> str:
    """Write a pytree, given the expressions of its leaves."""
    tree: dict[str, Any] = {}
    left = iter(leaves)
    nodes = jax.tree_util.tree_leaves_with_path(shapes, is_leaf=lambda node: not jax.tree.leaves(node))
    for path, node in nodes:
        branch, *steps = tree, *map(_step, path)
        for step in steps[:-1]:
            branch = branch.setdefault(step, {})
        leaf = next(left) if jax.tree.leaves(node) else "[]"
        if not steps:
            return leaf
        branch[steps[-1]] = leaf

    def write(branch: Any) -> str:
        if isinstance(branch, str):
            return branch
        if all(step.startswith("[") for step in branch):
            return f"[{', '.join(map(write, branch.values()))}]"
        return f"{{ {', '.join(f'{step[1:]}: {write(child)}' for step, child in branch.items())} }}"

    return write(tree)
