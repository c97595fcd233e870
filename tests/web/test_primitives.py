"""Each rule of the table against JAX, on random inputs, in a real browser."""

import functools
import json
from collections.abc import Callable
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax

from popgym_arcade.web import primitives
from popgym_arcade.web.emitter import Module

INTEGERS = (np.int8, np.uint8, np.int16, np.uint16, np.int32, np.uint32)
RNG = np.random.default_rng(0)


class Case(NamedTuple):
    function: Callable[..., Any]
    inputs: tuple[np.ndarray, ...]
    digits: float = 0.0
    """How much floats may differ, relatively."""


def numbers(dtype: Any, *shape: int) -> np.ndarray:
    """Integers of all sizes, the least, the greatest, zero and one among them; floats with halves, zeros and infinities."""
    if dtype is bool:
        return RNG.integers(0, 2, shape).astype(bool)
    if np.issubdtype(dtype, np.floating):
        found = RNG.normal(0, 10, shape) * np.where(RNG.random(shape) < 0.2, 1e3, 1)
        found = np.where(RNG.random(shape) < 0.2, np.round(found * 2) / 2, found)
        return found.astype(np.float32)
    info = np.iinfo(dtype)
    found = RNG.integers(info.min, info.max, shape, dtype=np.int64, endpoint=True)
    found = np.where(RNG.random(shape) < 0.3, found % 7 - 3 * (info.min < 0), found)
    found.flat[: min(4, found.size)] = [info.min, info.max, 0, 1][: min(4, found.size)]
    return found.astype(dtype)


def floats(*shape: int) -> np.ndarray:
    return numbers(np.float32, *shape)


def units(*shape: int) -> np.ndarray:
    return RNG.uniform(-1, 1, shape).astype(np.float32)


def indices(high: int, *shape: int) -> np.ndarray:
    return RNG.integers(-1, high + 1, shape).astype(np.int32)


def cases() -> dict[str, Case]:
    found: dict[str, Case] = {}

    def add(name: str, function: Callable[..., Any], *inputs: np.ndarray, digits: float = 0.0) -> None:
        found[name if name not in found else f"{name} {len(found)}"] = Case(function, inputs, digits)

    for dtype in INTEGERS:
        x, y = numbers(dtype, 60), numbers(dtype, 60)
        RNG.shuffle(y)
        kind = np.dtype(dtype).name
        for primitive in (lax.add_p, lax.sub_p, lax.mul_p, lax.div_p, lax.rem_p, lax.max_p, lax.min_p, lax.and_p, lax.or_p):
            add(f"{primitive.name} {kind}", primitive.bind, x, y)
        for primitive in (lax.xor_p, lax.eq_p, lax.ne_p, lax.lt_p, lax.le_p, lax.gt_p, lax.ge_p):
            add(f"{primitive.name} {kind}", primitive.bind, x, y)
        for number in (1, 5):
            divisor = np.full(60, number, dtype)
            add(f"div {kind} by {number}", lambda x, divisor=divisor: lax.div(x, divisor), x)
            add(f"rem {kind} by {number}", lambda x, divisor=divisor: lax.rem(x, divisor), x)
        shifts = RNG.integers(0, np.dtype(dtype).itemsize * 8 + 2, 60).astype(dtype)
        three = np.full(60, 3, dtype)
        for primitive in (lax.shift_left_p, lax.shift_right_logical_p, lax.shift_right_arithmetic_p):
            add(f"{primitive.name} {kind}", primitive.bind, x, shifts)
            add(f"{primitive.name} {kind} by 3", lambda x, primitive=primitive, by=three: primitive.bind(x, by), x)
        for function in (lax.bitwise_not, lax.population_count, lax.neg, lax.sign, lax.square):
            add(f"{function.__name__} {kind}", function, x)
        if np.iinfo(dtype).min < 0:
            add(f"abs {kind}", lax.abs, x)
        add(f"clamp {kind}", lax.clamp, np.array(2, dtype), x, np.array(40, dtype))
        add(f"integer_pow {kind}", lambda x: lax.integer_pow(x, 3), x)
        if np.dtype(dtype).itemsize == 2:
            continue
        for reduction in (jnp.max, jnp.min, jnp.argmax, jnp.argmin, jnp.bitwise_xor.reduce, jnp.cumsum, jnp.cumprod):
            add(f"{getattr(reduction, '__name__', 'xor')} {kind}", functools.partial(reduction, axis=0), x.reshape(20, 3))
        add(f"sum {kind}", lambda x: jnp.sum(x, 1, dtype=x.dtype), x.reshape(20, 3))
        add(f"prod {kind}", lambda x: jnp.prod(x, 1, dtype=x.dtype), x.reshape(20, 3))
        for name, reduction in (("and", lax.reduce_and), ("or", lax.reduce_or)):
            add(f"reduce_{name} {kind}", lambda x, reduction=reduction: reduction(x, (0,)), x.reshape(20, 3))
        for other in (*INTEGERS, bool, np.float32):
            add(f"{kind} to {np.dtype(other).name}", lambda x, other=other: lax.convert_element_type(x, other), x)
            if other is not bool and np.dtype(other).itemsize == np.dtype(dtype).itemsize:
                add(
                    f"bits of {kind} as {np.dtype(other).name}", lambda x, other=other: lax.bitcast_convert_type(x, other), x
                )

    truths, others = numbers(bool, 40), numbers(bool, 40)
    for function in (lax.bitwise_and, lax.bitwise_or, lax.bitwise_xor, lax.eq, lax.lt, lax.max):
        add(f"{function.__name__} bool", function, truths, others)
    add("not bool", lax.bitwise_not, truths)
    for other in (*INTEGERS, np.float32):
        add(f"bool to {np.dtype(other).name}", lambda x, other=other: lax.convert_element_type(x, other), truths)
    for reduction in (jnp.any, jnp.all, jnp.argmax):
        add(f"{reduction.__name__} bool", functools.partial(reduction, axis=1), truths.reshape(10, 4))
    add("select bool", lax.select, truths, numbers(np.int32, 40), numbers(np.int32, 40))
    add("select one", lambda which, x, y: lax.select(which, x, y), np.array(True), floats(5), floats(5))
    add("select of four", lambda which, *x: lax.select_n(which, *x), RNG.integers(0, 4, 40).astype(np.int32), *(
        numbers(np.uint8, 40) for _ in range(4)
    ))  # fmt: skip

    x, y = floats(80), floats(80)
    special = np.array([0.0, -0.0, np.inf, -np.inf, np.nan, 0.5, 1.5, 2.5, -0.5, -2.5, 3e9, -3e9, 255.5], np.float32)
    for primitive in (lax.add_p, lax.sub_p, lax.mul_p, lax.div_p, lax.max_p, lax.min_p, lax.rem_p, lax.eq_p, lax.lt_p):
        add(f"{primitive.name} float32", primitive.bind, x, y)
    for function in (lax.neg, lax.abs, lax.sign, lax.floor, lax.ceil, lax.square, lax.is_finite):
        add(f"{function.__name__} float32", function, np.concatenate([x, special]))
    for method in (lax.RoundingMethod.TO_NEAREST_EVEN, lax.RoundingMethod.AWAY_FROM_ZERO):
        add(f"round {method.name}", lambda x, method=method: lax.round(x, method), np.concatenate([x, special]))
    for other in (*INTEGERS, bool, np.float32):
        add(f"float32 to {np.dtype(other).name}", lambda x, other=other: lax.convert_element_type(x, other), special)
    for exponent in (0, 2, 3, 5, -2):
        add(f"integer_pow float32 {exponent}", lambda x, exponent=exponent: lax.integer_pow(x, exponent), y, digits=1e-6)
    for function in (lax.cos, lax.sin, lax.tan, lax.exp, lax.expm1, lax.tanh, lax.logistic, lax.erf_inv):
        add(f"{function.__name__} float32", function, units(80), digits=1e-6)
    for function in (lax.sqrt, lax.rsqrt, lax.log, lax.log1p):
        add(f"{function.__name__} float32", function, abs(x) + np.float32(0.01), digits=1e-6)
    add("reduce_precision", lambda x: lax.reduce_precision(x, 8, 23), x)
    add("stop_gradient", lambda x: lax.stop_gradient(x) + 1, x)
    add("clamp float32", lax.clamp, np.array(-1, np.float32), x, np.array(2.5, np.float32))
    for reduction in (jnp.max, jnp.min, jnp.argmax, jnp.argmin, lax.cummax, lax.cummin):
        add(f"{reduction.__name__} float32", functools.partial(reduction, axis=0), x.reshape(20, 4))
    add("argmax of nan", lambda x: jnp.argmax(x), special)
    add("sum float32", jnp.sum, units(6, 7), digits=1e-6)
    add("cumsum from the end", functools.partial(lax.cumsum, axis=1, reverse=True), numbers(np.int32, 5, 6))
    add("matrix product", jnp.matmul, units(5, 7), units(7, 4), digits=1e-5)
    add(
        "batched product",
        lambda x, y: jnp.einsum("bij,bkj->bik", x, y),
        numbers(np.int32, 3, 4, 5),
        numbers(np.int32, 3, 2, 5),
    )
    add("dot", jnp.dot, units(7), units(7), digits=1e-5)

    cube = numbers(np.int32, 4, 3, 5)
    add("broadcast", lambda x: lax.broadcast_in_dim(x, (2, 3, 4), (1,)), numbers(np.int16, 3))
    add("broadcast ones", lambda x: jnp.broadcast_to(x, (4, 3, 6)), numbers(np.int16, 4, 1, 6))
    add("broadcast a number", lambda x: jnp.full((3, 2), x), numbers(np.uint8))
    add("squeeze", lambda x: lax.squeeze(x, (0, 2)), numbers(np.int8, 1, 3, 1))
    add("expand_dims", lambda x: lax.expand_dims(x + 1, (0, 2)), numbers(np.int8, 3))
    add("reshape", lambda x: (x + 1).reshape(5, 12).T.reshape(3, 20), cube)
    add("reshape a number", lambda x: x.reshape(1, 1) + 1, numbers(np.int32))
    add("reshape to a number", lambda x: (x + 1).reshape(()), numbers(np.int32, 1, 1))
    add("transpose", lambda x: lax.transpose(x * 2, (2, 0, 1)), cube)
    add("rev", lambda x: lax.rev(x, (0, 2)), cube)
    add("slice", lambda x: lax.slice(x, (1, 0, 0), (4, 2, 5), (2, 1, 3)), cube)
    add("slice of a sum", lambda x: x[::2, 1:] + x[1::2, :-1], cube.reshape(10, 6))
    add("concatenate", lambda x, y: jnp.concatenate([x, y + 1, x], 1), numbers(np.int8, 2, 3), numbers(np.int8, 2, 1))
    add("stack", lambda x, y: jnp.stack([x, y], 1), numbers(np.int8, 3), numbers(np.int8, 3))
    add("split", lambda x: jnp.split(x + 1, [2, 3], axis=1), numbers(np.int32, 3, 5))
    add("pad", lambda x: lax.pad(x, np.int8(7), [(1, 2, 0), (0, 1, 2)]), numbers(np.int8, 2, 3))
    add("pad less", lambda x: lax.pad(x, np.int8(7), [(-1, 0, 0), (1, -2, 1)]), numbers(np.int8, 3, 4))
    add("iota", lambda: lax.broadcasted_iota(jnp.int32, (3, 4), 1) * 2)
    add("constants", lambda: (np.arange(6, dtype=np.uint8).reshape(2, 3), np.float32(-1.5), np.full((2, 2), 3, np.int16)))
    starts = [np.int32(n) for n in (-3, 1, 9)]
    add("dynamic_slice", lambda x, *at: lax.dynamic_slice(x, at, (2, 1, 5)), cube, *map(np.asarray, starts))
    add("dynamic_update_slice", lax.dynamic_update_slice_p.bind, cube, numbers(np.int32, 2, 2, 5), *map(np.asarray, starts))
    add("updates in place", update_in_place, numbers(np.uint8, 6, 6, 3), np.asarray(np.int32(2)))
    add("updates that are kept apart", update_apart, numbers(np.int32, 4, 4), np.asarray(np.int32(1)))
    table, rows = numbers(np.int32, 6, 4), indices(6, 5)
    for mode in ("clip", "fill", "promise_in_bounds"):
        at = np.clip(rows, 0, 5) if mode == "promise_in_bounds" else rows
        add(f"gather {mode}", lambda x, at, mode=mode: x.at[at].get(mode=mode), table, at)
    add("gather fill uint8", lambda x, at: x.at[at, at].get(mode="fill"), numbers(np.uint8, 4, 4), indices(4, 7))
    add("gather one", lambda x, row, col: x[row, col], table, np.asarray(np.int32(-2)), np.asarray(np.int32(3)))
    add("take along an axis", lambda x, at: jnp.take_along_axis(x, at, 1), table, np.abs(indices(3, 6, 2)))
    add("batched gather", lambda x, at: jax.vmap(lambda row, i: row[i])(x, at), table, np.abs(indices(3, 6)))
    for name in ("set", "add", "multiply", "min", "max"):
        add(
            f"scatter {name}",
            lambda x, at, y, name=name: getattr(x.at[at], name)(y),
            table,
            np.array([4, 0, 9, 2], np.int32),
            numbers(np.int32, 4, 4),
        )
    add(
        "scatter clip",
        lambda x, at, y: x.at[at].set(y, mode="clip"),
        table,
        np.array([9], np.int32),
        numbers(np.int32, 1, 4),
    )
    add("scatter one", lambda x, row, col: x.at[row, col].add(5), table, np.asarray(np.int32(2)), np.asarray(np.int32(-1)))
    add("batched scatter", lambda x, at: jax.vmap(lambda row, i: row.at[i].set(7))(x, at), table, np.abs(indices(3, 6)))
    turned = np.array([3, 0, 4, 1, 2], np.int32)
    add("scatter of itself", lambda x: (x + 0).at[x].set(x + 0), turned)
    add("scatter in place of itself", scatter_itself, turned)
    add("sort", lambda x: jnp.sort(x, axis=0), cube)
    add("argsort", lambda x: jnp.argsort(x), numbers(np.int8, 50) % 5)
    add(
        "sort by two",
        lambda x, y, z: lax.sort((x, y, z), num_keys=2),
        *(numbers(np.int8, 40) % 3 for _ in range(2)),
        floats(40),
    )

    key = np.array([2**32 - 5, 123456789], np.uint32)
    for number in (-5, 7):
        add(f"seed {number}", lambda seed: jax.random.key_data(jax.random.key(seed)), np.asarray(np.int32(number)))
    add("split key", lambda key: jax.random.key_data(jax.random.split(jax.random.wrap_key_data(key), 3)), key)
    add("fold_in", lambda key, number: jax.random.fold_in(key, number), key, np.asarray(np.uint32(2**32 - 1)))
    for dtype in (jnp.uint8, jnp.uint16, jnp.uint32):
        for shape in ((), (7,), (2, 3)):
            name = f"random bits {np.dtype(dtype).name} {shape}"
            add(name, lambda key, shape=shape, dtype=dtype: jax.random.bits(key, shape, dtype), key)
    add("random integers", lambda key: jax.random.randint(key, (40,), -3, 9), key)
    add("random floats", lambda key: jax.random.uniform(key, (40,), jnp.float32, -2, 3), key, digits=1e-6)
    add("random normal", lambda key: jax.random.normal(key, (200,)), key, digits=1e-6)

    add("cond", lambda x: lax.cond(x[0] < x[1], lambda: (x + 1, x[0]), lambda: (x * 2, x[1])), numbers(np.int32, 3))
    branches = [lambda x: x + 1, lambda x: x * 3, lambda x: x - 2]
    for number in (-1, 0, 1, 2, 7):
        add(f"switch {number}", lambda x, n: lax.switch(n, branches, x), numbers(np.int32, 3), np.asarray(np.int32(number)))
    add("while", collatz, np.asarray(np.int32(27)))
    add("loop that exchanges", exchange, numbers(np.int32, 3), numbers(np.int32, 3))
    for reverse in (False, True):
        add(f"scan {reverse}", lambda x, y, reverse=reverse: lax.scan(fold, (y, x[0]), x, reverse=reverse),
            numbers(np.int32, 5, 3), numbers(np.int32, 4, 3))  # fmt: skip
    add("scan without inputs", lambda x: lax.scan(lambda c, _: (c * 3 + 1, c), x, None, 6), numbers(np.int32))
    add("nothing", lambda x: (x[:0] + 1, jnp.sum(x[:0])), numbers(np.int32, 3))
    add("nested", lambda tree: {"a": [tree["b"][0] + 1, ()], "c": tree["d"]}, {"b": (numbers(np.int32),), "d": floats(2)})  # pyright: ignore
    return found


def update_in_place(x: Any, at: Any) -> Any:
    """What is updated twice, in a value that nobody reads meanwhile, from itself and from elsewhere."""
    frame = x + 1
    frame = lax.dynamic_update_slice(frame, x[:2, :2], (at, at, 0))
    frame = lax.dynamic_update_slice(frame, frame[1:3, :3] * 2, (at, at - 2, 0))
    return lax.dynamic_update_slice(frame, frame[::2, ::2], (0, at, 0))


def scatter_itself(x: Any) -> Any:
    y = x * 1
    return y.at[y].set(y, unique_indices=True, mode="promise_in_bounds")


def update_apart(x: Any, at: Any) -> Any:
    """What is read after an update as it was before."""
    before = x * 3
    later = before[1:, 1:] - 1
    after = lax.dynamic_update_slice(before, x[:2, :2], (at, at))
    again = lax.dynamic_update_slice(after, x[2:, 2:], (0, at))
    return after + before, later, again, after.T[0]


def exchange(x: Any, y: Any) -> Any:
    return lax.fori_loop(0, 3, lambda i, carry: (carry[1], carry[0] + 1, carry[3], carry[2]), (x, y, x[0], y[1]))


def collatz(n: Any) -> Any:
    return lax.while_loop(
        lambda c: c[0] != 1, lambda c: (jnp.where(c[0] % 2 == 0, c[0] // 2, 3 * c[0] + 1), c[1] + 1), (n, 0)
    )


def fold(carry: Any, row: Any) -> Any:
    board, last = carry
    board = lax.dynamic_update_slice(board, row[None] + last, (last[0] % 4, 0))
    return (board + 1, row), (board.sum(), row * last)


def plain(value: Any) -> Any:
    """A number or a flat list of numbers, as JSON knows them: those that it does not are spelt."""
    flat = [str(x) if isinstance(x, float) and not np.isfinite(x) else x for x in np.asarray(value).ravel().tolist()]
    return flat if np.ndim(value) else flat[0]


CALL = """
async ([text, calls]) => {
  const module = await load(text);
  return calls.map(([name, inputs]) => {
    try { return [spell(module[name](...enter(inputs))), spell(module[name](...enter(inputs)))]; }
    catch (error) { return String(error); }
  });
}
"""


def test_each_rule_agrees_with_jax(page: Any, text_of: Callable[[Module], str]) -> None:
    tried = cases()
    module = Module()
    calls = []
    for number, case in enumerate(tried.values()):
        module.add(f"f{number}", named(case.function, len(case.inputs)), *case.inputs)
        inputs = jax.tree.map(lambda leaf: {"dtype": leaf.dtype.name, "value": plain(leaf)}, case.inputs)
        calls.append([f"f{number}", json.loads(json.dumps(inputs))])
    answers = page.evaluate(CALL, [text_of(module), calls])
    # All of JAX's answers by one program, which need not be quick.
    run = jax.jit(lambda inputs: {name: case.function(*inputs[name]) for name, case in tried.items()})
    inputs = {name: case.inputs for name, case in tried.items()}
    known = run.lower(inputs).compile({"xla_backend_optimization_level": "0"})(inputs)
    wrong = {}
    for (name, case), answer in zip(tried.items(), answers, strict=True):
        if isinstance(answer, str) or answer[0] != answer[1] or not agree(known[name], answer[0], case.digits):
            wrong[name] = answer, known[name]
    assert not wrong


def agree(wanted: Any, got: Any, digits: float) -> bool:
    """Compare what JAX returns with what a module does, as `spell` has it."""
    if isinstance(wanted, dict):
        return wanted.keys() == got.keys() and all(agree(wanted[name], got[name], digits) for name in wanted)
    if isinstance(wanted, tuple | list):
        return len(wanted) == len(got) and all(agree(one, other, digits) for one, other in zip(wanted, got, strict=True))
    numbers_got = np.array([float(x) for x in np.ravel(got)])
    numbers_wanted = np.asarray(wanted).ravel().astype(float)
    return len(numbers_got) == len(numbers_wanted) and np.allclose(
        numbers_got, numbers_wanted, digits, digits, equal_nan=True
    )


def named(function: Callable[..., Any], count: int) -> Callable[..., Any]:
    """The function with as many named arguments as it is called with."""
    names = ", ".join(f"x{number}" for number in range(count))
    return eval(f"lambda {names}: function({names})", {"function": function})


def test_each_rule_is_tried() -> None:
    met: set[str] = set()
    rule = primitives.rule
    module = Module()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(primitives, "rule", lambda equation: met.add(equation.name) or rule(equation))
        for case in cases().values():
            module.add("f", named(case.function, len(case.inputs)), *case.inputs)
    spelt = {name.replace("scatter_", "scatter-") for name in primitives.RULES}
    assert spelt - met <= {"add_any", "square", "stack", "split"}, "rules that no case needs"
