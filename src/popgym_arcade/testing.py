"""The contract as code: `check_environment` tries to break the promises that every game makes.

It is for the games here and for those that users write.
"""

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.tree_util import keystr
from jax.typing import ArrayLike

from popgym_arcade import experts, turns
from popgym_arcade.environment import Environment, view_name
from popgym_arcade.players import search
from popgym_arcade.players.player import Player, play

_WORTH = 0.3
"""The least that memory must be worth, in the POMDP of every game."""

Decoder = Callable[[np.ndarray], Mapping[str, Any]]
Resampler = Callable[[jax.Array, Any], Any]


class ContractError(AssertionError):
    """A game breaks one of its promises."""


@dataclasses.dataclass(frozen=True)
class Near:
    """A decoded number that is known up to a tolerance."""

    value: Any
    within: Any


@dataclasses.dataclass(frozen=True)
class Report:
    """The result of `check_environment`: what holds, and what was not checked."""

    checked: tuple[str, ...]
    not_checked: tuple[str, ...]

    def __str__(self) -> str:
        lines = [f"checked: {line}" for line in self.checked] + [f"NOT checked: {line}" for line in self.not_checked]
        return "\n".join(lines)


def check_environment(
    env: Environment[Any, Any],
    params: Any = None,
    *,
    resample_hidden: Resampler | None = None,
    decode: Decoder | None = None,
    expert: experts.Policy | None = None,
    memory_player: Player | None = None,
) -> Report:
    """Check that a game keeps the promises of its two views.

    Always checked: types and shapes, the two views being one game (promise 1), observations as functions of the state
    (2), auto-reset, the clock, the score, the range of returns, and that all randomness comes from the keys, each used
    once. With the functions given also: that the MDP frame is sufficient (3), that the POMDP frame hides (4), that every
    episode can be won (5), and that memory pays (6).

    Args:
        env: either view of the game. A small `obs_size` is checked faster.
        params: the parameters of the game, `default_params` if left out.
        resample_hidden: (key, state) -> state, which draws anew all that the POMDP hides, and no more. Fit for vmap.
        decode: reads an MDP frame, uint8[obs_size, obs_size, 3] in NumPy, and returns the public fields of the state by
            their names. Entries that the frame does not tell are masked (`numpy.ma`), numbers read up to some precision
            are given as `Near`.
        expert: (key, state, params) -> action; must reach `env.best_return` in every episode.
        memory_player: sees the glimpses of the POMDP (the game must define `glimpse`); must get 0.3 more than the best
            blind and the best memoryless player that cheap searches find. They take most of a minute.

    Returns:
        what was checked and what was not; print it.

    Raises:
        ContractError: on the first promise found broken; it says which, and where.
        TypeError: if an argument has the wrong type.
    """
    if not isinstance(env, Environment):
        raise TypeError(f"env must be an Environment, such as make(...)[0], got {type(env).__name__}")
    params = env.default_params if params is None else params
    if not isinstance(params, type(env.default_params)):
        raise TypeError(f"params must be a {type(env.default_params).__name__}, got {type(params).__name__}")
    for name, helper in {"resample_hidden": resample_hidden, "decode": decode, "expert": expert}.items():
        if helper is not None and not callable(helper):
            raise TypeError(f"{name} must be a function, got {helper!r}")
    if memory_player is not None and not isinstance(memory_player, Player):
        raise TypeError(f"memory_player must be a popgym_arcade.players.Player, got {memory_player!r}")
    mdp, pomdp = (env.twin, env) if env.partial_obs else (env, env.twin)
    checked: list[str] = []
    not_checked: list[str] = []

    def check(what: str, function: Callable[..., None], *args: Any) -> None:
        function(*args)
        checked.append(what)

    check("identity: equal environments, names, spaces", _check_identity, env)
    check("types: shapes and dtypes that do not drift", _check_types, mdp, params)
    check("keys: all randomness from them, each used once", _check_keys, mdp, params)
    starts = {view: turns.start(view, turns.draw_keys(0)[0], params) for view in (mdp, pomdp)}
    states = _go_ahead(mdp, params, starts[mdp][1])
    runs = {view: _roll(view, params, states) for view in (mdp, pomdp)}
    check(
        "promise 1, same game: both views step alike, bit for bit",
        _check_same_game,
        starts[mdp][1],
        starts[pomdp][1],
        runs[mdp],
        runs[pomdp],
    )
    for view in (mdp, pomdp):
        name = view_name(view.partial_obs)
        check(
            f"promise 2 ({name}): the observation is a function of the state",
            _check_observations,
            view,
            starts[view],
            runs[view],
        )
    check("auto-reset: as documented", _check_auto_reset, runs[mdp])
    check("clock and ends: terminated, truncated, discount", _check_clock, mdp, params)
    check("returns: within [-1, 1], and the score their percentage", _check_returns, mdp, params)

    if decode is not None:
        fields = _check_decoder(decode, runs[mdp])
        checked.append(f"promise 3: the MDP frame is sufficient; decoded: {fields}")
    else:
        not_checked.append("promise 3: the MDP frame is sufficient (give decode)")
    if resample_hidden is not None:
        fields = _check_hiding(pomdp, resample_hidden, runs[mdp])
        checked.append(f"promise 4: the POMDP frame hides; resampled: {fields}")
    else:
        not_checked.append("promise 4: the POMDP frame hides (give resample_hidden)")
    if expert is not None:
        _check_expert(mdp, params, expert)
        checked.append("promise 5: every episode can be won")
    else:
        not_checked.append("promise 5: every episode can be won (give expert)")
    if memory_player is not None:
        found = _check_memory_pays(pomdp, params, memory_player)
        checked.append(f"promise 6: memory pays; {found}")
    else:
        not_checked.append("promise 6: memory pays (give memory_player)")
    return Report(tuple(checked), tuple(not_checked))


def _require(condition: Any, message: str) -> None:
    if not condition:
        raise ContractError(message)


def _differences(a: Any, b: Any) -> list[str]:
    """Name the leaves in which two pytrees differ, in shape, dtype or bits."""
    paths, structure = jax.tree_util.tree_flatten_with_path(a)
    others, other_structure = jax.tree.flatten(b)
    if structure != other_structure:
        return [f"the structure: {structure} and {other_structure}"]

    def bits(x: Any) -> tuple[Any, ...]:
        x = np.asarray(x)
        return x.shape, x.dtype, x.tobytes()

    return [keystr(path) for (path, x), y in zip(paths, others, strict=True) if bits(x) != bits(y)]


def _select(mask: np.ndarray, a: Any, b: Any) -> Any:
    """Take the leaves of `a` where the mask, over their leading axes, is True, and those of `b` elsewhere."""
    return jax.tree.map(lambda x, y: np.where(mask.reshape(*mask.shape, *[1] * (x.ndim - mask.ndim)), x, y), a, b)


def _check_identity(env: Environment[Any, Any]) -> None:
    same = dataclasses.replace(env)
    _require(same == env and hash(same) == hash(env), "two environments built alike must be equal and hash alike")
    _require(env.twin != env and env.twin.twin == env, "twin must be the other view, and its twin this one")
    _require(env.twin.name == env.name, "both views must have the same name")
    _require(env.num_actions == 5 and env.action_space().n == 5, "there must be 5 actions")
    space = env.observation_space()
    _require(
        (space.shape, space.dtype, space.low, space.high) == ((env.obs_size, env.obs_size, 3), np.uint8, 0, 255),
        "the observation space must be all uint8[obs_size, obs_size, 3]",
    )


def _check_types(env: Environment[Any, Any], params: Any) -> None:
    key = jax.random.key(0)
    frame = jax.ShapeDtypeStruct((env.obs_size, env.obs_size, 3), np.uint8)
    _, start = jax.eval_shape(env.reset, key, params)
    action = jax.ShapeDtypeStruct((), np.int32)

    def signature(tree: Any) -> dict[str, tuple[Any, ...]]:
        leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
        return {keystr(path): (leaf.shape, leaf.dtype, bool(getattr(leaf, "weak_type", False))) for path, leaf in leaves}

    def scalar(dtype: Any) -> dict[str, tuple[Any, ...]]:
        return signature(jax.ShapeDtypeStruct((), dtype))

    _require(signature(start.time) == scalar(np.int32), "state.time must be int32[], not weakly typed")
    _require(signature(start.score) == scalar(np.int32), "state.score must be int32[], not weakly typed")
    flag = jax.ShapeDtypeStruct((), bool)
    number = jax.ShapeDtypeStruct((), np.float32)
    expected_info = signature({"terminated": flag, "truncated": flag, "discount": number, "final_state": start})
    for view in (env, env.twin):
        obs, state = jax.eval_shape(view.reset, key, params)
        _require((obs.shape, obs.dtype) == (frame.shape, frame.dtype), f"reset must return a frame {frame}, got {obs}")
        _require(signature(state) == signature(start), "both views must start with the same types of state")
        for method in (view.step, view.step_env):
            obs, state, reward, done, info = jax.eval_shape(method, key, start, action, params)
            _require((obs.shape, obs.dtype) == (frame.shape, frame.dtype), f"a step must return a frame {frame}, got {obs}")
            _require(
                signature(state) == signature(start),
                f"types of the state must not drift: {signature(start)} becomes {signature(state)}",
            )
            _require(signature(reward) == scalar(np.float32), f"reward must be float32[], got {reward}")
            _require(signature(done) == scalar(bool), f"done must be bool[], got {done}")
            _require(signature(info) == expected_info, f"info must hold {expected_info}, got {signature(info)}")


def _subjaxprs(value: Any) -> list[Any]:
    if hasattr(value, "jaxpr"):  # closed
        return [value.jaxpr]
    if hasattr(value, "eqns"):
        return [value]
    return [jaxpr for part in value for jaxpr in _subjaxprs(part)] if isinstance(value, tuple | list) else []


def _seeds_inside(jaxpr: Any) -> bool:
    for equation in jaxpr.eqns:
        if equation.primitive.name == "random_seed":  # should JAX rename it, the tests of broken games tell
            return True
        if any(_seeds_inside(inner) for value in equation.params.values() for inner in _subjaxprs(value)):
            return True
    return False


def _check_keys(env: Environment[Any, Any], params: Any) -> None:
    key = jax.random.key(3)
    _, start = jax.eval_shape(env.reset, key, params)
    action = jnp.zeros((), jnp.int32)
    functions: dict[str, Callable[[], Callable[..., Any]]] = {
        "initial_state": lambda: lambda key, *_: env.initial_state(key, params),
        "transition": lambda: lambda key, state, action: env.transition(key, state, action, params),
    }
    for name, function in functions.items():
        # Each function made anew is traced anew: a game with dice of its own leaves other constants each time.
        first, second = (jax.make_jaxpr(function())(key, start, action) for _ in range(2))
        constant_keys = [jnp.issubdtype(jnp.asarray(c).dtype, jax.dtypes.prng_key) for c in first.consts]
        _require(not any(constant_keys) and not _seeds_inside(first.jaxpr), f"{name} draws from a key of its own")
        same = str(first) == str(second) and not _differences(first.consts, second.consts)
        _require(same, f"{name} must do the same for the same arguments, at each trace")
        try:
            with jax.debug_key_reuse(True):
                jax.jit(function()).trace(jax.random.key(3), start, action)
        except jax.errors.KeyReuseError as error:
            raise ContractError(f"{name} uses a key twice: {error}") from error


def _go_ahead(mdp: Environment[Any, Any], params: Any, state: Any) -> Any:
    """Play on randomly, each game to another depth, and return the states.

    They are 800 steps deep at most, as each step is a call. Random play does not get there in Breakout and Tetris, whose
    clocks are longer.
    """
    depths = np.arange(turns.ENVS) * (min(int(np.max(params.max_steps_in_episode)), 800) // turns.ENVS)
    rng = np.random.default_rng(6)
    for time, keys in zip(range(depths[-1]), turns.many_keys(1), strict=False):
        after = turns.take_turn(mdp, keys, state, rng.integers(0, 5, turns.ENVS), params).state
        state = _select(time < depths, after, state)
    return state


def _roll(env: Environment[Any, Any], params: Any, state: Any) -> turns.Outcome:
    """Record random play with auto-reset; fresh starts have the keys of those."""
    rng = np.random.default_rng(2)
    actions = rng.integers(0, 5, (turns.STEPS, turns.ENVS))
    # Half of the players fire often: they see more of a game whose ends are reached by firing.
    fires = (rng.random(actions.shape) < 0.4) & (np.arange(turns.ENVS) % 2 == 0)
    keys = turns.draw_keys(1)
    fresh_keys = np.asarray(jax.random.key_data(_second_halves(keys)))
    outcomes = []
    for inputs in zip(keys, fresh_keys, np.where(fires, 4, actions), strict=True):
        outcomes.append(turns.take_turn(env, inputs[0], state, inputs[2], params, inputs[1]))
        state = outcomes[-1].state
    return turns.stack(outcomes)


@jax.jit
def _second_halves(keys: ArrayLike) -> jax.Array:
    return jax.vmap(jax.vmap(lambda key: jax.random.split(key)[1]))(jax.random.wrap_key_data(jnp.asarray(keys)))


def _flat(tree: Any) -> Any:
    return jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), tree)


def _check_same_game(mdp_start: Any, pomdp_start: Any, mdp: turns.Outcome, pomdp: turns.Outcome) -> None:
    different = _differences(mdp_start, pomdp_start)
    _require(not different, f"the views start apart under the same keys, in {', '.join(different)}")
    for name in ("state", "reward", "done", "info"):
        different = _differences(getattr(mdp, name), getattr(pomdp, name))
        _require(not different, f"the views differ under the same keys and actions, in {name}: {', '.join(different)}")


def _check_observations(env: Environment[Any, Any], start: tuple[np.ndarray, Any], run: turns.Outcome) -> None:
    # As many as are drawn at once: the first states, and the run's without the last ones.
    states = jax.tree.map(lambda *parts: np.concatenate(parts)[: -turns.ENVS], start[1], _flat(run.state))
    observations = np.concatenate([start[0], _flat(run.observation)])[: -turns.ENVS]
    _require(
        np.array_equal(turns.draw(env, states), observations),
        "get_obs(state) must equal the observation that came with the state: a frame may show no randomness, and no past, "
        "that is not in the state",
    )
    _require(np.any(observations != observations[:1]), "the screen never changes")


def _check_auto_reset(run: turns.Outcome) -> None:
    state, reward, done, info = run.plain
    fresh = run.fresh[1]
    different = _differences((state, reward, done, info), (run.info["final_state"], run.reward, run.done, run.info))
    _require(not different, f"step_env and step must agree on everything but the reset; they differ in {different}")
    different = _differences(_select(done, fresh, state), run.state)
    _require(not different, f"after done must come reset(split(key)[1]), else the state goes on; it differs in {different}")
    _require(not np.any(fresh.time) and not np.any(fresh.score), "an episode must start with time and score 0")
    starts = jax.tree.leaves(jax.tree.map(lambda leaf: np.any(leaf != leaf[:1, :1]), fresh))
    _require(any(starts), "an episode starts in the same state whatever the key")


def _check_clock(env: Environment[Any, Any], params: Any) -> None:
    limit = 5
    short = params.replace(max_steps_in_episode=np.int32(limit))
    rng = np.random.default_rng(7)
    first, *others = turns.draw_keys(7)
    _, state = turns.start(env, first, short)
    ended, seen = np.zeros(turns.ENVS, bool), []
    for keys in others[:limit]:
        state, _, done, info = turns.take_turn(env, keys, state, rng.integers(0, 5, turns.ENVS), short).plain
        seen.append((ended, state.time, done, info))
        ended = ended | done
    over, times, done, info = turns.stack(seen)
    playing = ~over
    steps = np.arange(1, limit + 1)[:, None] + 0 * times
    terminated, truncated = info["terminated"], info["truncated"]
    _require(np.array_equal(times, steps), "state.time must count the steps of the episode")
    _require(np.array_equal(done, terminated | truncated), "done must be terminated or truncated")
    _require(not np.any(terminated & truncated), "an episode that the rules end is not truncated")
    late = truncated != (~terminated & (steps >= limit))
    _require(not np.any(late & playing), f"with max_steps_in_episode={limit}, step {limit} truncates, and no other does")
    _require(
        np.array_equal(info["discount"], 1 - terminated.astype(np.float32)),
        "discount must be 0 where terminated, else 1",
    )


def _check_returns(env: Environment[Any, Any], params: Any) -> None:
    """Play random, greedy and stubborn players to the end of their episodes."""
    longest = int(np.max(params.max_steps_in_episode))
    kind = np.arange(turns.ENVS) % 8  # 0 to 4 repeat that action, 5 is greedy for the next reward, the others play randomly
    greedy = np.flatnonzero(kind == 5)
    tries = np.resize(np.repeat(greedy, 5), turns.ENVS), np.resize(np.arange(5), turns.ENVS)
    rng = np.random.default_rng(8)
    _, state = turns.start(env, turns.draw_keys(8)[-1], params)
    over, totals, worst = np.zeros(turns.ENVS, bool), np.zeros(turns.ENVS, np.float32), np.zeros(turns.ENVS)
    for _, keys in zip(range(longest + 1), turns.many_keys(8), strict=False):
        actions = np.where(kind < 5, kind, rng.integers(0, 5, turns.ENVS))
        if not over[greedy].all():
            who, what = tries
            before = jax.tree.map(lambda leaf, who=who: leaf[who], state)
            tried = turns.take_turn(env, keys[who], before, what, params).reward
            actions[greedy] = np.argmax(tried[: 5 * len(greedy)].reshape(-1, 5), 1)
        after, reward, done, _ = turns.take_turn(env, keys, state, actions, params).plain
        totals += np.where(over, 0, reward)
        worst = np.maximum(worst, np.where(over, 0, np.abs(after.score - 100 * totals)))
        state = _select(over, state, after)
        over = over | done
        if over.all():
            break
    _require(np.all(over), f"an episode outlives its clock of {longest} steps")
    _require(
        np.all(np.abs(totals) <= 1 + 1e-5), f"returns must lie in [-1, 1], got {totals.min():.5f} to {totals.max():.5f}"
    )
    _require(np.all(worst <= 0.5 + 1e-2), "state.score must be the undiscounted return so far in percent, rounded")


def _check_decoder(decode: Decoder, run: turns.Outcome) -> str:
    rng = np.random.default_rng(0)
    states, observations = _flat((run.state, run.observation))
    chosen = rng.choice(len(observations), 96, replace=False)
    fields: set[str] = set()
    for index in np.unique(np.concatenate([chosen, np.arange(turns.ENVS)])):
        state = jax.tree.map(lambda leaf, i=index: np.asarray(leaf[i]), states)
        try:
            decoded = decode(np.asarray(observations[index]))
        except ValueError as error:
            raise ContractError(f"decode: {error}") from error
        _require(decoded, "decode must return at least one field of the state")
        fields |= set(decoded)
        for name, read in decoded.items():
            _require(hasattr(state, name), f"decode returns {name}, but the state has no field {name}")
            truth = getattr(state, name)
            if isinstance(read, Near):
                good = np.all(np.abs(np.asarray(read.value) - truth) <= read.within)
            else:
                good = np.ma.allequal(np.ma.asarray(read), truth, fill_value=True) and np.shape(read) == np.shape(truth)
            _require(good, f"the MDP frame does not tell {name}: read {read}, but the state has {truth}")
    return ", ".join(sorted(fields))


def _check_hiding(pomdp: Environment[Any, Any], resample_hidden: Resampler, run: turns.Outcome) -> str:
    states = _flat(run.state)
    keys = jax.random.wrap_key_data(jnp.asarray(turns.draw_keys(9)).reshape(-1, 2))
    others = jax.tree.map(np.asarray, jax.jit(jax.vmap(resample_hidden))(keys, states))
    _require(jax.tree.structure(others) == jax.tree.structure(states), "resample_hidden must return a state")
    changed = _differences(states, others)
    _require(changed, "resample_hidden changes nothing, so it cannot show that anything is hidden")
    seen = np.any(turns.draw(pomdp, states) != turns.draw(pomdp, others), axis=(1, 2, 3))
    _require(not seen.any(), f"the POMDP shows what it should hide: {seen.sum()} of {len(seen)} frames changed with it")
    return ", ".join(name.lstrip(".") for name in changed)


def _check_expert(env: Environment[Any, Any], params: Any, expert: experts.Policy) -> None:
    keys = jax.random.split(jax.random.key(10), 64)

    @jax.jit
    def play(key: jax.Array) -> Any:
        _, start = env.reset(jax.random.split(key)[0], params)
        return experts.play(env, expert, key, params), env.best_return(start, params)

    episodes, best = jax.vmap(play)(keys)
    short = np.flatnonzero(np.asarray(episodes.total) < np.asarray(best) - 1e-4)
    _require(
        not len(short),
        f"the expert misses the best return in {len(short)} of {len(keys)} episodes, "
        f"for example {float(episodes.total[short[:1]].sum()):.4f} instead of {float(best[short[:1]].sum()):.4f}",
    )


def _check_memory_pays(pomdp: Environment[Any, Any], params: Any, player: Player) -> str:
    horizon = min(int(np.max(params.max_steps_in_episode)), 256)
    searches = {"blind": (search.scripts(horizon), 0.1), "memoryless": (search.tables(1_024), 0.1)}
    found = {
        name: search.search(
            pomdp,
            policy,
            jax.random.key(12),
            iterations=32,
            episodes=64,
            horizon=horizon,
            learning_rate=rate,
            validation=256,
            params=params,
        ).total
        for name, (policy, rate) in searches.items()
    }
    totals = jax.jit(jax.vmap(lambda key: play(pomdp, player, key, params).total))
    remembering = float(totals(jax.random.split(jax.random.key(11), 512)).mean())
    told = f"memory player {remembering:.2f}, memoryless {found['memoryless']:.2f}, blind {found['blind']:.2f}"
    _require(remembering - max(found.values()) >= _WORTH, f"memory must be worth {_WORTH} in the POMDP: {told}")
    return told
