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
import re
import zlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import jax
import numpy as np

from popgym_arcade.web import primitives
from popgym_arcade.web.program import Atom, Equation, Program, array_of, flatten, is_complex
from popgym_arcade.web.values import ARRAYS, Index, UnsupportedError, Value, constant, literal, stored

_LONG = 512  # rounds of a loop that is worth a function of its own


class Module:
    """An ES module, function by function."""

    def __init__(self, runtime: str = "./runtime.js") -> None:
        self.runtime = runtime
        """Where the module finds runtime.js."""
        self._constants: dict[tuple[str, bytes], str] = {}
        self._stored: list[np.ndarray] = []
        self._parts: list[str] = []
        self._lines: list[str] = []
        self._allocated: list[str] = []
        self._depth = 0
        self._names = Counter[str]()
        self._owned: set[str] = set()
        self._live: list[Value] = []
        self._rounds: list[int] = []
        """The rounds of the outermost loop that is being written, and of each loop in it."""

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
                expression = names[path[0].idx] + "".join(_step(key) for key in path[1:])
                if is_complex(variable.aval):
                    given += [self._argument(np.float32, variable.aval.shape, expression + part) for part in (".re", ".im")]
                else:
                    given.append(self._argument(*array_of(variable.aval, expression), expression))
            answers = iter([self._answer(value) for value in self.block(program, given)])
        except UnsupportedError as error:
            raise UnsupportedError(f"{name} cannot be exported: {error}") from None
        leaves = [
            f"{{ re: {next(answers)}, im: {next(answers)} }}" if is_complex(leaf) else next(answers)
            for leaf in jax.tree.leaves(shapes)
        ]
        self.line(f"return {_literal_of(shapes, leaves)};")
        head = "".join(f"// {line}\n" for line in doc.splitlines())
        body = "\n".join([*self._allocated, f"{head}export function {name}({', '.join(names)}) {{", *self._lines, "}"])
        self._parts.append(body)

    def text(self, text: str) -> None:
        """Add JavaScript as it is."""
        self._parts.append(text.strip())

    def source(self, about: str = "") -> str:
        """Return the text of the module."""
        body = "\n\n".join(self._parts)
        used = [name for name in primitives.HELPERS if re.search(rf"\b{name}\b", body)] + ["unpack"] * bool(self._stored)
        head = [f"// {about}"] if about else []
        head.append(f'import {{ {", ".join(used)} }} from "{self.runtime}";')
        head.append("const { abs, fround, imul, max, min } = Math;")
        if self._stored:
            kinds = ", ".join(f"[{ARRAYS[array.dtype]}, {array.size}]" for array in self._stored)
            packed = zlib.compress(b"".join(array.tobytes() for array in self._stored), 9)
            head.append(f"const [{', '.join(f'c{n}' for n in range(len(self._stored)))}] = await unpack(")
            head.append(f'  [{kinds}],\n  "{base64.b64encode(packed).decode()}",\n);')
        return "\n".join([*head, "", body, ""])

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
    def loops(self, shape: Sequence[int]) -> Iterator[list[Index]]:
        """Write what is written meanwhile into loops over all indices of a shape, the last one fastest."""
        outer, self._rounds = self._rounds, [int(np.prod(shape))]
        first = len(self._lines)
        with contextlib.ExitStack() as stack:
            index: list[Index] = []
            for length in shape:
                index.append(0 if length == 1 else self.name("i"))
                if length != 1:
                    stack.enter_context(self.braces(f"for (let {index[-1]} = 0; {index[-1]} < {length}; {index[-1]}++)"))
            yield index
        rounds = int(np.prod(shape)) * max([1, *self._rounds[1:]])
        self._rounds = outer
        if outer:
            outer.append(rounds)
        elif rounds >= _LONG:
            self._move_out(first)

    def _move_out(self, first: int) -> None:
        """Make a function of the lines from one on: engines compile a loop of many rounds sooner if it stands by itself."""
        lines = self._lines[first:]
        text = "\n".join(lines)
        declared = set(re.findall(r"(?:const|let) (\w+)", text))
        free = sorted(set(re.findall(r"\bv\d+\b", text)) - declared)
        changed = [name for name in free if re.search(rf"^ *{name} \+?= ", text, re.MULTILINE)]
        if len(changed) > 1:
            return
        name, arguments = self.name("loop"), ", ".join(free)
        lines = [line[2 * self._depth - 2 :] for line in lines] + [f"  return {found};" for found in changed]
        self._allocated.append("\n".join([f"function {name}({arguments}) {{", *lines, "}"]))
        del self._lines[first:]
        self.line("".join(f"{found} = " for found in changed) + f"{name}({arguments});")

    def name(self, prefix: str) -> str:
        """Return a name that is not taken."""
        self._names[prefix] += 1
        return f"{prefix}{self._names[prefix]}"

    def _argument(self, dtype: Any, shape: Sequence[int], expression: str) -> Value:
        return stored(dtype, shape, self._let(expression)) if shape else self.number(dtype, expression)

    def _let(self, expression: str, keyword: str = "const") -> str:
        name = self.name("v")
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
            return f"Boolean({value.at(())})" if value.dtype.kind == "b" else value.at(())
        assert value.place
        return f"{value.place.buffer}.slice()"


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
    """The arguments of `paste`, if rows are to be copied as they are; else ""."""
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
