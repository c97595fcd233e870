"""The primitives of JAX in JavaScript: one table, a few lines for each.

A rule is given an equation and its inputs, and returns its output. Most are elementwise: an expression of expressions.
Integers wrap as XLA's do, float32 is rounded after each operation; truth values may be booleans or 0 and 1 on the way.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from popgym_arcade.web.program import Equation, flatten
from popgym_arcade.web.values import Index, UnsupportedError, Value, constant, literal, plus, stored, times

if TYPE_CHECKING:
    from popgym_arcade.web.emitter import Module

HELPERS = (
    *("count", "divide", "erfInv", "foldIn", "order", "paste", "power", "product", "randomBits", "remainder", "roundAway"),
    *("roundEven", "split", "toBits", "toFloat", "whole"),
)
"""The functions of runtime.js that rules use."""
_CASTS = {"int8": "{} << 24 >> 24", "int16": "{} << 16 >> 16", "int32": "{} | 0"}
_CASTS |= {"uint8": "{} & 255", "uint16": "{} & 65535", "uint32": "{} >>> 0"}


class Rule(NamedTuple):
    """How a primitive is written."""

    write: Callable[..., Value | list[Value]]
    """(module, equation, *inputs) -> outputs."""
    reads_once: bool
    """Whether each element of an input is read at most once: then inputs need not be stored."""


RULES: dict[str, Rule] = {}


def rule(equation: Equation) -> Rule:
    """Return the rule of an equation.

    Raises:
        UnsupportedError: if there is none.
    """
    if equation.name not in RULES:
        raise UnsupportedError(f"the primitive {equation.name} has no rule; there are rules for {', '.join(sorted(RULES))}")
    return RULES[equation.name]


def reads_once(equation: Equation, value: Value) -> bool:
    """Whether an equation reads each element of a value, its input, at most once."""
    is_spread = equation.name == "broadcast_in_dim" and np.prod(equation.shape) > value.size
    return rule(equation).reads_once and not is_spread


def _rule(*names: str, reads_once: bool = False) -> Callable[[Any], Any]:
    def register(write: Any) -> Any:
        RULES.update(dict.fromkeys(names, Rule(write, reads_once)))
        return write

    return register


def _elementwise(*names: str) -> Callable[[Any], Any]:
    """Register a function (equation, *expressions of inputs) -> expression of the output."""

    def register(expression: Callable[..., str]) -> Any:
        def write(module: "Module", equation: Equation, *inputs: Value) -> Value:
            def at(index: Sequence[Index]) -> str:
                return expression(equation, *(value.at(_within(index, value.shape)) for value in inputs))

            return Value(equation.dtype, equation.shape, at, _reads(*inputs))

        _rule(*names, reads_once=True)(write)
        return expression

    return register


def _within(index: Sequence[Index], shape: Sequence[int]) -> list[Index]:
    """The index of an operand: a number has none, and what has length 1 is repeated."""
    return [0 if length == 1 else at for at, length in zip(index, shape, strict=False)]


def _reads(*inputs: Value) -> frozenset[str]:
    return frozenset().union(*(value.reads for value in inputs))


def _cast(dtype: np.dtype[Any], expression: str) -> str:
    """Bring the result of an operation into the range of its dtype."""
    if dtype == np.float32:
        return f"fround({expression})"
    return f"({_CASTS[dtype.name].format(expression)})"


def _is_float(array: Any) -> bool:
    return array.dtype == np.float32


# Arithmetic.

_MATH = {
    "cos": "Math.cos({})",
    "exp": "Math.exp({})",
    "expm1": "Math.expm1({})",
    "log": "Math.log({})",
    "log1p": "Math.log1p({})",
    "logistic": "1 / (1 + Math.exp(-{}))",
    "rsqrt": "1 / Math.sqrt({})",
    "sin": "Math.sin({})",
    "sqrt": "Math.sqrt({})",
    "tan": "Math.tan({})",
    "tanh": "Math.tanh({})",
    "floor": "Math.floor({})",
    "ceil": "Math.ceil({})",
    "erf_inv": "erfInv({})",
}
"""Functions of one float: in double precision, then rounded. XLA's differ from them in the last digits."""


@_elementwise(*_MATH)
def _math(equation: Equation, x: str) -> str:
    return f"fround({_MATH[equation.name].format(x)})"


@_elementwise("add", "add_any")
def _add(equation: Equation, x: str, y: str) -> str:
    return _cast(equation.dtype, f"{x} + {y}")


@_elementwise("sub")
def _sub(equation: Equation, x: str, y: str) -> str:
    return _cast(equation.dtype, f"{x} - {y}")


@_elementwise("mul")
def _mul(equation: Equation, x: str, y: str) -> str:
    is_word = equation.dtype.itemsize == 4 and not _is_float(equation)
    return _cast(equation.dtype, f"imul({x}, {y})" if is_word else f"{x} * {y}")


@_elementwise("square")
def _square(equation: Equation, x: str) -> str:
    return _mul(equation, x, x)


@_elementwise("div")
def _div(equation: Equation, x: str, y: str) -> str:
    if _is_float(equation):
        return f"fround({x} / {y})"
    return _cast(equation.dtype, f"{x} / {y}" if _is_divisor(y) else f"divide({x}, {y})")


@_elementwise("rem")
def _rem(equation: Equation, x: str, y: str) -> str:
    if _is_float(equation):
        return f"fround({x} % {y})"
    return _cast(equation.dtype, f"{x} % {y}" if _is_divisor(y) else f"remainder({x}, {y})")


def _is_divisor(text: str) -> bool:
    return text.isdigit() and int(text) > 0


@_elementwise("neg")
def _neg(equation: Equation, x: str) -> str:
    return _cast(equation.dtype, f"-{x}")


@_elementwise("abs")
def _abs(equation: Equation, x: str) -> str:
    return _cast(equation.dtype, f"abs({x})")


@_elementwise("sign")
def _sign(equation: Equation, x: str) -> str:
    return f"Math.sign({x})"


@_elementwise("max")
def _max(equation: Equation, x: str, y: str) -> str:
    return f"max({x}, {y})"


@_elementwise("min")
def _min(equation: Equation, x: str, y: str) -> str:
    return f"min({x}, {y})"


@_elementwise("clamp")
def _clamp(equation: Equation, low: str, x: str, high: str) -> str:
    return f"min(max({low}, {x}), {high})"


@_elementwise("integer_pow")
def _integer_pow(equation: Equation, x: str) -> str:
    return _cast(equation.dtype, f"power({x}, {equation.params['y']}, {'product' if _is_float(equation) else 'imul'})")


@_elementwise("round")
def _round(equation: Equation, x: str) -> str:
    return f"{'roundEven' if int(equation.params['rounding_method']) == 1 else 'roundAway'}({x})"


# Bits, comparisons, choices, conversions.


_BITWISE = {"and": "&", "or": "|", "xor": "^"}


@_elementwise(*_BITWISE)
def _bitwise(equation: Equation, x: str, y: str) -> str:
    joined = f"({x} {_BITWISE[equation.name.removeprefix('reduce_')]} {y})"
    return _cast(equation.dtype, joined) if equation.dtype == np.uint32 else joined


@_elementwise("not")
def _not(equation: Equation, x: str) -> str:
    return f"(!{x})" if equation.dtype.kind == "b" else _cast(equation.dtype, f"~{x}")


@_elementwise("shift_left")
def _shift_left(equation: Equation, x: str, y: str) -> str:
    bits = equation.dtype.itemsize * 8
    shifted = f"({x} << {y})" if _is_below(y, bits) else f"({y} >>> 0 < {bits} ? {x} << {y} : 0)"
    return _cast(equation.dtype, shifted)


@_elementwise("shift_right_logical")
def _shift_right_logical(equation: Equation, x: str, y: str) -> str:
    bits = equation.dtype.itemsize * 8
    unsigned = x if bits == 32 else f"({x} & {(1 << bits) - 1})"
    return _cast(
        equation.dtype, f"({unsigned} >>> {y})" if _is_below(y, bits) else f"({y} >>> 0 < {bits} ? {unsigned} >>> {y} : 0)"
    )


@_elementwise("shift_right_arithmetic")
def _shift_right_arithmetic(equation: Equation, x: str, y: str) -> str:
    bits = equation.dtype.itemsize * 8
    signed = _CASTS[f"int{bits}"].format(x)
    return _cast(equation.dtype, f"(({signed}) >> ({y} >>> 0 < {bits} ? {y} : {bits - 1}))")


def _is_below(text: str, bits: int) -> bool:
    return text.isdigit() and int(text) < bits


@_elementwise("population_count")
def _population_count(equation: Equation, x: str) -> str:
    return f"count({x} & {(1 << 8 * equation.dtype.itemsize) - 1})"


_COMPARISONS = {"eq": "==", "ne": "!=", "lt": "<", "le": "<=", "gt": ">", "ge": ">="}


@_elementwise(*_COMPARISONS)
def _compare(equation: Equation, x: str, y: str) -> str:
    return f"({x} {_COMPARISONS[equation.name]} {y})"


@_elementwise("is_finite")
def _is_finite(equation: Equation, x: str) -> str:
    return f"Number.isFinite({x})"


@_elementwise("select_n")
def _select_n(equation: Equation, which: str, *cases: str) -> str:
    if equation.given[0].dtype.kind == "b":
        return f"({which} ? {cases[1]} : {cases[0]})"
    *others, chosen = cases
    for number, case in reversed(list(enumerate(others))):
        chosen = f"({which} <= {number} ? {case} : {chosen})"
    return chosen


@_elementwise("convert_element_type")
def _convert(equation: Equation, x: str) -> str:
    source, target = equation.given[0].dtype, equation.dtype
    if source == target:
        return x
    if target.kind == "b":
        return f"({x} != 0)"
    if source.kind == "b":
        return f"(+{x})"
    if target == np.float32:
        return f"fround({x})" if source.itemsize == 4 else x
    if source == np.float32:
        info = np.iinfo(target)
        return f"whole({x}, {info.min}, {info.max})"
    return x if np.can_cast(source, target) else _cast(target, x)


@_elementwise("bitcast_convert_type")
def _bitcast(equation: Equation, x: str) -> str:
    source, target = equation.given[0].dtype, equation.dtype
    if source.itemsize != target.itemsize:
        raise UnsupportedError(f"bitcast_convert_type from {source} to {target}: the sizes differ")
    if source == np.float32:
        return _cast(target, f"toBits({x})")
    return f"toFloat({x})" if target == np.float32 else _cast(target, x)


@_elementwise("reduce_precision")
def _reduce_precision(equation: Equation, x: str) -> str:
    if (equation.params["exponent_bits"], equation.params["mantissa_bits"]) != (8, 23):
        raise UnsupportedError("reduce_precision has a rule for float32 alone")
    return x


# Elements elsewhere.


@_rule("broadcast_in_dim", reads_once=True)
def _broadcast_in_dim(module: "Module", equation: Equation, x: Value, *_: Value) -> Value:
    if not x.shape:
        return constant(x.dtype, equation.shape, x.at(()))
    axes = {int(axis): number for number, axis in enumerate(equation.params["broadcast_dimensions"])}
    steps = [(axes[axis], int(x.shape[axes[axis]] != 1)) if axis in axes else (0, 0) for axis in range(len(equation.shape))]
    return x.moved(equation.shape, [0] * len(x.shape), steps)


@_rule("squeeze", reads_once=True)
def _squeeze(module: "Module", equation: Equation, x: Value) -> Value:
    gone = {int(axis) for axis in equation.params["dimensions"]}
    steps = [(axis, 1) for axis in range(len(x.shape)) if axis not in gone]
    return _number_of(x.moved(equation.shape, [0] * len(x.shape), steps))


def _number_of(value: Value) -> Value:
    """A stored element is read into a `const`, for what is stored there may be written over."""
    return value if value.shape else value._replace(is_cheap=value.is_cheap and value.place is None, place=None)


@_rule("reshape", reads_once=True)
def _reshape(module: "Module", equation: Equation, x: Value) -> Value:
    if equation.params.get("dimensions") is not None:
        raise UnsupportedError("reshape with dimensions")
    kept = [axis for axis, length in enumerate(x.shape) if length != 1]
    new = [axis for axis, length in enumerate(equation.shape) if length != 1]
    if [x.shape[axis] for axis in kept] == [equation.shape[axis] for axis in new]:  # axes of length 1 come and go
        sources = dict(zip(new, kept, strict=True))
        steps = [(sources[axis], 1) if axis in sources else (0, 0) for axis in range(len(equation.shape))]
        return (
            _number_of(x.moved(equation.shape, [0] * len(x.shape), steps))
            if x.shape
            else constant(x.dtype, equation.shape, x.at(()))
        )
    if x.place is None and x.is_cheap:  # the same number everywhere
        x = module.copy(x)
    x = module.store(x)
    assert x.place
    return stored(x.dtype, equation.shape, x.place.buffer)


@_rule("transpose", reads_once=True)
def _transpose(module: "Module", equation: Equation, x: Value) -> Value:
    return x.moved(equation.shape, [0] * len(x.shape), [(int(axis), 1) for axis in equation.params["permutation"]])


@_rule("rev", reads_once=True)
def _rev(module: "Module", equation: Equation, x: Value) -> Value:
    turned = set(equation.params["dimensions"])
    offsets = [length - 1 if axis in turned else 0 for axis, length in enumerate(x.shape)]
    return x.moved(x.shape, offsets, [(axis, -1 if axis in turned else 1) for axis in range(len(x.shape))])


@_rule("slice", reads_once=True)
def _slice(module: "Module", equation: Equation, x: Value) -> Value:
    steps = equation.params["strides"] or [1] * len(x.shape)
    offsets = [int(start) for start in equation.params["start_indices"]]
    return x.moved(equation.shape, offsets, [(axis, int(step)) for axis, step in enumerate(steps)])


@_rule("dynamic_slice", reads_once=True)
def _dynamic_slice(module: "Module", equation: Equation, x: Value, *starts: Value) -> Value:
    offsets = [_start(module, *each) for each in zip(starts, x.shape, equation.shape, strict=True)]
    return x.part(equation.shape, offsets)


@_rule("dynamic_update_slice", reads_once=True)
def _dynamic_update_slice(module: "Module", equation: Equation, x: Value, update: Value, *starts: Value) -> Value:
    if x.reads & update.reads:
        update = module.copy(update)
    offsets = [_start(module, *each) for each in zip(starts, x.shape, update.shape, strict=True)]
    x = module.own(x)
    module.fill(x.part(update.shape, offsets), update)
    return x


def _start(module: "Module", start: Value, length: int, window: int) -> Index:
    """Where a window begins, which XLA moves inside."""
    text = start.at(())
    if length == window:
        return 0
    if text.isdigit():
        return min(int(text), length - window)
    return module.number(np.int32, f"min(max({text}, 0), {length - window})").at(())


@_rule("split", reads_once=True)
def _split(module: "Module", equation: Equation, x: Value) -> list[Value]:
    x = module.store(x)
    axis, first, parts = equation.params["axis"], 0, []
    for array in equation.arrays:
        parts.append(x.part(array.shape, _along(axis, first, len(x.shape))))
        first += array.shape[axis]
    return parts


@_rule("concatenate", reads_once=True)
def _concatenate(module: "Module", equation: Equation, *parts: Value) -> Value:
    axis, first = equation.params["dimension"], 0
    target = module.buffer(equation.dtype, equation.shape)
    for part in parts:
        module.fill(target.part(part.shape, _along(axis, first, len(part.shape))), part)
        first += part.shape[axis]
    return target


def _along(axis: int, at: int, axes: int) -> list[Index]:
    """The index of what lies at the beginning of all axes but one."""
    return [at if number == axis else 0 for number in range(axes)]


@_rule("stack", reads_once=True)
def _stack(module: "Module", equation: Equation, *parts: Value) -> Value:
    axis = equation.params["axis"]
    target = module.buffer(equation.dtype, equation.shape)
    rest = [number for number in range(len(equation.shape)) if number != axis]
    for first, part in enumerate(parts):
        offsets = _along(axis, first, len(equation.shape))
        module.fill(target.moved(part.shape, offsets, [(number, 1) for number in rest]), part)
    return target


@_rule("pad")
def _pad(module: "Module", equation: Equation, x: Value, padding: Value) -> Value:
    target = module.copy(constant(x.dtype, equation.shape, padding.at(())))
    with module.loops(x.shape) as index:
        places, tests = [], []
        for at, whole, (low, high, inside) in zip(index, equation.shape, equation.params["padding_config"], strict=True):
            place = plus(times(at, int(inside) + 1), int(low))
            places.append(place)
            if low < 0 or high < 0:
                tests.append(f"{place} >= 0 && {place} < {whole}")
        test = f"if ({' && '.join(tests)}) " if tests else ""
        if x.size:
            module.line(f"{test}{target.at(places)} = {x.at(index)};")
    return target


@_rule("iota")
def _iota(module: "Module", equation: Equation, *_: Value) -> Value:
    axis = equation.params["dimension"]
    return Value(equation.dtype, equation.shape, lambda index: _bracketed(index[axis]), is_cheap=True)


def _bracketed(index: Index) -> str:
    text = str(index)
    return text if text.isidentifier() or text.isdigit() else f"({text})"


@_rule("gather")
def _gather(module: "Module", equation: Equation, x: Value, starts: Value) -> Value:
    numbers, sizes = equation.params["dimension_numbers"], equation.params["slice_sizes"]
    window = [axis for axis in range(len(x.shape)) if axis not in _missing(numbers)]
    mode = str(equation.params["mode"]).upper()
    batch = [axis for axis in range(len(equation.shape)) if axis not in numbers.offset_dims]

    def at(index: Sequence[Index]) -> str:
        found, tests = _window_start(numbers, starts, [index[axis] for axis in batch], x.shape, sizes, "FILL" not in mode)
        for place, axis in zip(numbers.offset_dims, window, strict=True):
            found[axis] = plus(found[axis], index[place])
        element = x.at(found)
        if "FILL" not in mode:
            return element
        return f"({' && '.join(tests)} ? {element} : {_filling(equation)})" if tests else element

    return Value(equation.dtype, equation.shape, at, _reads(x, starts))


def _filling(equation: Equation) -> str:
    """What is found outside of a gathered array."""
    found = equation.params["fill_value"]
    if found is None and equation.dtype.kind in "iu":
        info = np.iinfo(equation.dtype)
        found = info.min if info.min < 0 else info.max
    return literal(np.asarray(np.nan if found is None else found, equation.dtype))


def _missing(numbers: Any) -> set[int]:
    """The axes of a gathered or scattered array that no window has."""
    collapsed = getattr(numbers, "collapsed_slice_dims", None)
    if collapsed is None:
        return {*numbers.inserted_window_dims, *numbers.operand_batching_dims}
    return {*collapsed, *numbers.operand_batching_dims}


def _window_start(
    numbers: Any, starts: Value, batch: Sequence[Index], shape: Sequence[int], sizes: Sequence[int], clamps: bool
) -> tuple[list[Index], list[str]]:
    """Where a window of a gather or a scatter begins in an array, and tests of whether it lies inside."""
    axes = getattr(numbers, "start_index_map", None) or getattr(numbers, "scatter_dims_to_operand_dims", ())
    batching = getattr(numbers, "start_indices_batching_dims", None)
    batching = numbers.scatter_indices_batching_dims if batching is None else batching
    found: list[Index] = [0] * len(shape)
    tests = []
    for number, axis in enumerate(axes):
        last, text = shape[axis] - sizes[axis], starts.at([*batch, number])
        found[axis] = f"min(max({text}, 0), {last})" if clamps else text
        tests.append(f"{text} >= 0 && {text} <= {last}")
    for axis, place in zip(numbers.operand_batching_dims, batching, strict=True):
        found[axis] = batch[place]
    return found, tests


@_rule("scatter", *(f"scatter{joint}{kind}" for joint in "-_" for kind in ("add", "mul", "min", "max")))
def _scatter(module: "Module", equation: Equation, x: Value, starts: Value, updates: Value) -> Value:
    numbers = equation.params["dimension_numbers"]
    clamps = "CLIP" in str(equation.params["mode"]).upper()
    window = [axis for axis in range(len(x.shape)) if axis not in _missing(numbers)]
    sizes = [1] * len(x.shape)
    for axis, place in zip(window, numbers.update_window_dims, strict=True):
        sizes[axis] = updates.shape[place]
    combine = {"add": _add, "mul": _mul, "min": _min, "max": _max}.get(equation.name[8:])
    starts, updates = (module.copy(value) if value.reads & x.reads else value for value in (starts, updates))
    target = module.own(x)
    with module.loops(updates.shape) as index:
        batch = [index[axis] for axis in range(len(index)) if axis not in numbers.update_window_dims]
        found, tests = _window_start(numbers, starts, batch, x.shape, sizes, clamps)
        for place, axis in zip(numbers.update_window_dims, window, strict=True):
            found[axis] = plus(found[axis], index[place])
        element, update = target.at(found), updates.at(index)
        test = "" if clamps or not tests else f"if ({' && '.join(tests)}) "
        module.line(f"{test}{element} = {combine(equation, element, update) if combine else update};")
    return target


@_rule("sort")
def _sort(module: "Module", equation: Equation, *arrays: Value) -> list[Value]:
    axis, keys = equation.params["dimension"], equation.params["num_keys"]
    targets = [module.buffer(array.dtype, array.shape) for array in arrays]
    shape = arrays[0].shape
    with module.loops([1 if number == axis else length for number, length in enumerate(shape)]) as index:
        place = module.name("o")

        def along(value: Value, at: Index) -> str:
            return value.at([at if number == axis else each for number, each in enumerate(index)])

        tests = " || ".join(f"order({along(key, 'x')}, {along(key, 'y')})" for key in arrays[:keys])
        module.line(f"const {place} = Array.from({{ length: {shape[axis]} }}, (_, i) => i).sort((x, y) => {tests});")
        with module.loops([shape[axis]]) as (at,):
            for target, array in zip(targets, arrays, strict=True):
                module.line(f"{along(target, at)} = {along(array, f'{place}[{at}]')};")
    return targets


# Many into one.


def _low(dtype: np.dtype[Any]) -> str:
    return "-Infinity" if dtype == np.float32 else "0" if dtype.kind == "b" else str(np.iinfo(dtype).min)


def _high(dtype: np.dtype[Any]) -> str:
    return "Infinity" if dtype == np.float32 else "1" if dtype.kind == "b" else str(np.iinfo(dtype).max)


_REDUCTIONS: dict[str, tuple[Callable[[Any], str], Callable[..., str]]] = {
    "reduce_sum": (lambda dtype: "0", _add),
    "reduce_prod": (lambda dtype: "1", _mul),
    "reduce_max": (_low, _max),
    "reduce_min": (_high, _min),
    "reduce_and": (
        lambda dtype: "1" if dtype.kind == "b" else "-1" if dtype.kind == "i" else str(np.iinfo(dtype).max),
        _bitwise,
    ),
    "reduce_or": (lambda dtype: "0", _bitwise),
    "reduce_xor": (lambda dtype: "0", _bitwise),
}
"""Where a reduction begins, and what joins two numbers."""


@_rule(*_REDUCTIONS, reads_once=True)
def _reduce(module: "Module", equation: Equation, x: Value, *_: Value) -> Value:
    begin, join = _REDUCTIONS[equation.name]
    axes = equation.params["axes"]

    def body(kept: Sequence[Index]) -> str:
        sum_ = module.number(x.dtype, begin(x.dtype), "let").at(())
        with _over(module, x.shape, axes, kept) as index:
            module.line(f"{sum_} = {join(equation, sum_, x.at(index))};")
        return sum_

    return _each(module, equation, body)


@_rule("argmax", "argmin", reads_once=True)
def _arg(module: "Module", equation: Equation, x: Value) -> Value:
    [axis] = equation.params["axes"]
    sign = ">" if equation.name == "argmax" else "<"

    def body(kept: Sequence[Index]) -> str:
        best = module.number(x.dtype, "NaN", "let").at(())
        where = module.number(np.int32, "0", "let").at(())
        with _over(module, x.shape, [axis], kept) as index:
            element = module.number(x.dtype, x.at(index)).at(())
            first = "0" if x.shape[axis] == 1 else str(index[axis])
            test = f"{first} == 0 || {element} {sign} {best} || ({element} != {element} && {best} == {best})"
            with module.braces(f"if ({test})"):
                module.line(f"{best} = {element};")
                module.line(f"{where} = {first};")
        return where

    return _each(module, equation, body)


def _each(module: "Module", equation: Equation, body: Callable[[Sequence[Index]], str]) -> Value:
    """Compute each element of the output by lines of its own."""
    if not equation.shape:
        return constant(equation.dtype, (), body(()))
    target = module.buffer(equation.dtype, equation.shape)
    with module.loops(equation.shape) as index:
        module.line(f"{target.at(index)} = {body(index)};")
    return target


@contextlib.contextmanager
def _over(module: "Module", shape: Sequence[int], axes: Sequence[int], kept: Sequence[Index]) -> Iterator[list[Index]]:
    """Loop over some axes of a shape, given the indices along the others; yields whole indices."""
    others = iter(kept)
    with module.loops([shape[axis] for axis in axes]) as inner:
        moving = dict(zip(axes, inner, strict=True))
        yield [moving[axis] if axis in moving else next(others) for axis in range(len(shape))]


_RUNNING = {"cumsum": "reduce_sum", "cumprod": "reduce_prod", "cummax": "reduce_max", "cummin": "reduce_min"}


@_rule(*_RUNNING, reads_once=True)
def _running(module: "Module", equation: Equation, x: Value) -> Value:
    begin, join = _REDUCTIONS[_RUNNING[equation.name]]
    axis, turned = equation.params["axis"], equation.params["reverse"]
    target = module.buffer(equation.dtype, equation.shape)
    with module.loops([1 if number == axis else length for number, length in enumerate(x.shape)]) as index:
        sum_ = module.number(x.dtype, begin(x.dtype), "let").at(())
        with module.loops([x.shape[axis]]) as (step,):
            index[axis] = f"{x.shape[axis] - 1} - {step}" if turned else step
            module.line(f"{sum_} = {join(equation, sum_, x.at(index))};")
            module.line(f"{target.at(index)} = {sum_};")
    return target


@_rule("dot_general")
def _dot_general(module: "Module", equation: Equation, x: Value, y: Value) -> Value:
    (x_summed, y_summed), (x_batch, y_batch) = equation.params["dimension_numbers"]
    x_free = [axis for axis in range(len(x.shape)) if axis not in (*x_summed, *x_batch)]
    y_free = [axis for axis in range(len(y.shape)) if axis not in (*y_summed, *y_batch)]

    def body(index: Sequence[Index]) -> str:
        batch, rest = list(index[: len(x_batch)]), list(index[len(x_batch) :])
        of_x = {**dict(zip(x_batch, batch, strict=True)), **dict(zip(x_free, rest[: len(x_free)], strict=True))}
        of_y = {**dict(zip(y_batch, batch, strict=True)), **dict(zip(y_free, rest[len(x_free) :], strict=True))}
        # Float sums are made in double precision: XLA's order is its own affair.
        sum_ = module.number(equation.dtype, "0", "let").at(())
        with module.loops([x.shape[axis] for axis in x_summed]) as summed:
            of_x |= dict(zip(x_summed, summed, strict=True))
            of_y |= dict(zip(y_summed, summed, strict=True))
            left, right = (value.at([of[axis] for axis in range(len(of))]) for value, of in ((x, of_x), (y, of_y)))
            if _is_float(equation):
                module.line(f"{sum_} += {left} * {right};")
            else:
                module.line(f"{sum_} = {_add(equation, sum_, _mul(equation, left, right))};")
        return f"fround({sum_})" if _is_float(equation) else sum_

    return _each(module, equation, body)


# Random bits. A key is two words.


@_rule("random_wrap", "random_unwrap", reads_once=True)
def _same(module: "Module", equation: Equation, key: Value) -> Value:
    return key


@_rule("random_seed")
def _random_seed(module: "Module", equation: Equation, seed: Value) -> Value:
    target = module.buffer(np.uint32, (2,))
    module.line(f"{target.at([1])} = {seed.at(())};")
    return target


@_rule("random_split")
def _random_split(module: "Module", equation: Equation, key: Value) -> Value:
    _check_one_key(equation)
    target = module.buffer(np.uint32, equation.shape)
    module.line(f"split({_words(key)}, {_name(target)});")
    return target


@_rule("random_bits")
def _random_bits(module: "Module", equation: Equation, key: Value) -> Value:
    _check_one_key(equation)
    target = module.buffer(equation.dtype, equation.shape or (1,))
    module.line(f"randomBits({_words(key)}, {_name(target)});")
    return target if equation.shape else Value(target.dtype, (), lambda _: target.at([0]), target.reads)


@_rule("random_fold_in")
def _random_fold_in(module: "Module", equation: Equation, key: Value, number: Value) -> Value:
    _check_one_key(equation)
    target = module.buffer(np.uint32, (2,))
    module.line(f"foldIn({_words(key)}, {number.at(())}, {_name(target)});")
    return target


def _check_one_key(equation: Equation) -> None:
    if equation.given[0].shape != (2,):
        raise UnsupportedError(f"{equation.name} of several keys at once")


def _words(key: Value) -> str:
    return f"{key.at([0])}, {key.at([1])}"


def _name(value: Value) -> str:
    assert value.place
    return value.place.buffer


# Branches and loops.


@_rule("cond")
def _cond(module: "Module", equation: Equation, which: Value, *inputs: Value) -> list[Value]:
    targets = [_variable(module, array) for array in equation.arrays]
    branches = equation.params["branches"]
    with module.braces(f"switch (min(max({which.at(())}, 0), {len(branches) - 1}))"):
        for number, branch in enumerate(branches):
            with module.braces(f"case {number}:"):
                for target, value in zip(targets, _block(module, branch, inputs), strict=True):
                    module.fill(target, value)
                module.line("break;")
    return targets


@_rule("while")
def _while(module: "Module", equation: Equation, *inputs: Value) -> list[Value]:
    first, second = equation.params["cond_nconsts"], equation.params["body_nconsts"]
    of_test, of_body, carry = inputs[:first], inputs[first : first + second], inputs[first + second :]
    carry = _carried(module, carry)
    with module.braces("for (;;)"):
        [goes_on] = _block(module, equation.params["cond_jaxpr"], [*of_test, *carry])
        module.line(f"if (!{goes_on.at(())}) break;")
        _carry_on(module, carry, _block(module, equation.params["body_jaxpr"], [*of_body, *carry]))
    return carry


@_rule("scan")
def _scan(module: "Module", equation: Equation, *inputs: Value) -> list[Value]:
    params = equation.params
    consts, carries = params["num_consts"], params["num_carry"]
    carry = _carried(module, inputs[consts : consts + carries])
    stacked = [module.buffer(array.dtype, array.shape) for array in equation.arrays[carries:]]
    with module.loops([params["length"]]) as (step,):
        at = f"{params['length'] - 1} - {step}" if params["reverse"] else step
        rows = [_number_of(_row(value, at)) for value in inputs[consts + carries :]]
        answers = _block(module, params["jaxpr"], [*inputs[:consts], *carry, *rows])
        for target, value in zip(stacked, answers[carries:], strict=True):
            module.fill(_row(target, at), value)
        _carry_on(module, carry, answers[:carries])
    return [*carry, *stacked]


def _row(value: Value, at: Index) -> Value:
    offsets = [at, *[0] * (len(value.shape) - 1)]
    return value.moved(value.shape[1:], offsets, [(axis, 1) for axis in range(1, len(value.shape))])


def _block(module: "Module", closed: Any, inputs: Sequence[Value]) -> list[Value]:
    return module.block(flatten(closed), inputs)


def _variable(module: "Module", array: Any) -> Value:
    return module.buffer(array.dtype, array.shape) if array.shape else module.number(array.dtype, "0", "let")


def _carried(module: "Module", values: Sequence[Value]) -> list[Value]:
    """Put what a loop begins with into variables of its own."""
    return [module.copy(value) if value.shape else module.number(value.dtype, value.at(()), "let") for value in values]


def _carry_on(module: "Module", carry: Sequence[Value], new: Sequence[Value]) -> None:
    """Set the variables of a loop, all at once."""
    names = {value.at(()) for value in carry if not value.shape}
    buffers = _reads(*carry)
    moved = []
    for old, value in zip(carry, new, strict=True):
        if not value.shape:
            is_same = value.at(()) == old.at(())
            moved.append(module.number(value.dtype, value.at(())) if value.at(()) in names and not is_same else value)
        else:
            moved.append(module.copy(value) if value.reads & buffers and value.place != old.place else value)
    for old, value in zip(carry, moved, strict=True):
        if (old.place, old.at([0] * len(old.shape))) != (value.place, value.at([0] * len(old.shape))):
            module.fill(old, value)
