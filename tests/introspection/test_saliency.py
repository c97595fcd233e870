"""Gradients: against finite differences, against the plain way, and of agents whose answer is known."""

import io
from typing import Any, cast

import equinox as eqx
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from popgym_arcade.baselines.model.builder import MemoryNetwork, QNetwork
from popgym_arcade.introspection import saliency
from popgym_arcade.introspection.episode import unit, value
from tests.introspection import known

CONFIG = {"ENV_NAME": "NavigatorEasy", "PARTIAL": False, "MEMORY_TYPE": "gru", "SEED": 0}


@jax.jit
def outputs(model: MemoryNetwork, frames: Any, last_action: Any, start: Any) -> jax.Array:
    return value(model(model.initial_state(), frames, last_action, start)[1])


@pytest.mark.parametrize("make", [lambda: known.small("lru"), lambda: known.small("none"), lambda: known.policy("gru")])
def test_gradients_are_finite_differences(make: Any) -> None:
    model, episode = make(), known.episode(6)
    frames = unit(episode.frames)
    for action in (0, 3):
        maps = saliency.maps(model, episode, action)
        for time in (0, 4, 5):
            step = np.zeros_like(frames)
            step[time] = 5e-5 * np.sign(maps[5][time])  # small, so that few units cross their kink
            ahead, behind = (
                outputs(model, frames + sign * step, episode.last_action, episode.start)[:, action] for sign in (1, -1)
            )
            for decision in range(time, 6):
                expected = 2 * np.sum(maps[decision][time] * step[time])
                scale = 2 * float(np.sum(np.abs(maps[decision][time] * step[time])))
                assert ahead[decision] - behind[decision] == pytest.approx(expected, abs=0.02 * scale + 2e-6)
            assert np.array_equal(ahead[:time], behind[:time])


def test_the_plain_way_gives_the_same() -> None:
    model, episode = known.small("gru"), known.episode(5)
    frames = jnp.asarray(unit(episode.frames))

    def output(frames: jax.Array, action: int) -> jax.Array:
        length = len(frames)
        return outputs(model, frames, episode.last_action[:length], episode.start[:length])[-1, action]

    gradient = jax.grad(output)
    total, chosen, one = (saliency.maps(model, episode, target) for target in ("sum", "chosen", 2))
    for decision in (0, 4):
        plain = np.stack([gradient(frames[: decision + 1], action) for action in range(known.ACTIONS)])
        near = {"rtol": 1e-3, "atol": 1e-5 * np.abs(plain).max()}
        np.testing.assert_allclose(total[decision], np.abs(plain).sum(0), **near)
        np.testing.assert_allclose(chosen[decision], plain[episode.action[decision]], **near)
        np.testing.assert_allclose(one[decision], plain[2], **near)


def test_sums_are_those_of_the_maps() -> None:
    model, episode = known.small("gru"), known.episode(7)
    found = saliency.recall(model, episode, small=True, chunk=3)
    by_action = [saliency.maps(model, episode, action) for action in range(known.ACTIONS)]
    assert found.small is not None and found.scale is not None
    for decision in range(7):
        maps = np.stack([maps[decision] for maps in by_action])
        np.testing.assert_allclose(found.l1[decision, : decision + 1].T, np.abs(maps).sum((2, 3, 4)), rtol=1e-4)
        pixels = saliency.pixel_saliency(maps)
        assert pixels.shape == (decision + 1, known.SIZE, known.SIZE)
        np.testing.assert_allclose(found.squared[decision, : decision + 1].sum(-1), pixels.sum((1, 2)), rtol=1e-4)
        small = found.small[decision] / 255 * found.scale[decision][:, None, None]
        blocks = np.abs(maps).sum((0, -1)).reshape(-1, 32, 2, 32, 2).sum((2, 4))
        np.testing.assert_allclose(small[: decision + 1], blocks, atol=0.6 / 255 * blocks.max())
        for later in (found.l1, found.squared, found.small, found.scale):
            assert not later[decision, decision + 1 :].any()


def test_small_maps_lose_nothing_at_any_size() -> None:
    for size in (64, 100, 128):
        shares = saliency._overlaps(size, saliency.SMALL)
        np.testing.assert_allclose(shares.sum(0), 1, rtol=1e-5)
        np.testing.assert_allclose(shares.sum(1), size / saliency.SMALL, rtol=1e-5)


@pytest.mark.parametrize("chunk", [2, 100])
def test_chunks_make_no_difference(chunk: int) -> None:
    model, episode = known.small("lru"), known.episode(5)
    for one, other in zip(saliency.maps(model, episode), saliency.maps(model, episode, chunk=chunk), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-4, atol=1e-7)
    some = saliency.recall(model, episode, [1, 4], chunk=chunk)
    np.testing.assert_allclose(some.l1, saliency.recall(model, episode).l1[[1, 4]], rtol=1e-4)


@pytest.mark.parametrize("memory", ["gru", "lru", pytest.param("attention", marks=pytest.mark.slow)])
def test_nothing_passes_the_start_of_an_episode(memory: str) -> None:
    maps = saliency.maps(known.small(memory), known.episode(8, starts=(0, 5)))
    for decision, gradients in enumerate(maps):
        begin = 5 if decision >= 5 else 0
        assert not gradients[:begin].any()
        assert all(gradients[time].any() for time in range(begin, decision + 1))


def test_probabilities_sum_to_one_so_their_gradients_to_zero() -> None:
    model, episode = known.policy("gru"), known.episode(4)
    maps = [saliency.maps(model, episode, action)[3] for action in range(known.ACTIONS)]
    assert np.abs(sum(maps)).max() < 1e-4 * np.abs(maps[0]).max()


def test_the_call_of_the_paper(capsys: pytest.CaptureFixture[str]) -> None:
    model = known.small("gru")
    grads, obs_seq, accumulated = saliency.get_saliency_maps(jax.random.PRNGKey(0), model, CONFIG, num_steps=4)
    assert [maps.shape for maps in grads] == [(i + 1, 64, 64, 3) for i in range(4)]
    assert all(maps.dtype == np.float32 and np.isfinite(maps).all() for maps in grads)
    assert obs_seq.shape == (4, 64, 64, 3) and obs_seq.dtype == np.uint8
    for maps, total in zip(grads, accumulated, strict=True):
        np.testing.assert_allclose(total, maps.sum(0))
    assert capsys.readouterr().out == ""


def test_agents_without_memory_depend_on_the_present_frame() -> None:
    model = QNetwork(5, jax.random.key(0), obs_size=64, encoder="patch", hidden_size=32)
    grads, _, _ = saliency.get_saliency_maps(jax.random.key(0), model, {**CONFIG, "MEMORY_TYPE": "none"}, num_steps=3)
    for maps in grads:
        assert not maps[:-1].any() and maps[-1].any()


def test_an_episode_that_ends_earlier(capsys: pytest.CaptureFixture[str]) -> None:
    config = {**CONFIG, "ENV_NAME": "CartPoleHard", "PARTIAL": True}
    grads, obs_seq, _ = saliency.get_saliency_maps(jax.random.key(0), known.small("gru"), config, num_steps=300)
    assert len(grads) == len(obs_seq) < 300
    assert capsys.readouterr().out == f"the episode ended after {len(grads)} of 300 steps\n"


def test_the_config_of_a_run() -> None:
    config = known.config("NavigatorEasy", seed=3)
    grads, _, _ = saliency.get_saliency_maps(jax.random.key(0), known.small("gru"), config, num_steps=2)
    assert len(grads) == 2
    config = known.config("NavigatorEasy", obs_size=128)
    with pytest.raises(ValueError, match=r"the model does not fit its config: it has obs_size 64 instead of 128"):
        saliency.get_saliency_maps(jax.random.key(0), known.small("gru"), config, num_steps=2)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("changes", "options", "error", "message"),
    [
        ({"ENV_NAME": "NavigatorEsay"}, {}, ValueError, r"unknown environment 'NavigatorEsay'; did you mean NavigatorEasy"),
        ({"MEMORY_TYPE": "attenton"}, {}, ValueError, r"unknown memory 'attenton'; did you mean attention"),
        ({"MEMORY_TYPE": "lru"}, {}, ValueError, r"the model does not fit its config: it has memory gru instead of lru"),
        ({"PARTIAL": "False"}, {}, TypeError, r"PARTIAL must be True or False, got 'False'"),
        ({}, {"target": "chosne"}, ValueError, r"unknown target 'chosne'; did you mean chosen"),
        ({}, {"target": 5}, ValueError, r"target, if it is no string, must be from 0 to 4, got 5"),
        ({}, {"target": 1.5}, TypeError, r"target, if it is no string, must be an int from 0 to 4, got 1.5"),
        ({}, {"num_steps": 0}, ValueError, r"num_steps must be at least 1, got 0"),
        ({}, {"num_steps": 2.5}, TypeError, r"num_steps must be an int of at least 1, got 2.5"),
        ({}, {"chunk": 0}, ValueError, r"chunk must be at least 1, got 0"),
    ],
)
def test_bad_input_is_refused_before_anything_is_compiled(
    changes: Any, options: Any, error: Any, message: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = known.small("gru")
    monkeypatch.setattr("popgym_arcade.introspection.episode.greedy_step", None)
    with pytest.raises(error, match=message):
        saliency.get_saliency_maps(jax.random.key(0), model, CONFIG | changes, **options)


@pytest.mark.usefixtures("unchecked")
def test_more_bad_input() -> None:
    model, key = known.small("gru"), jax.random.key(0)
    with pytest.raises(ValueError, match=r"config has no PARTIAL, but PARTAIL"):
        saliency.get_saliency_maps(key, model, {"ENV_NAME": "NavigatorEasy", "PARTAIL": True})
    with pytest.raises(TypeError, match=r"model must be a network of popgym_arcade.baselines.model.builder, got str"):
        saliency.get_saliency_maps(key, cast(Any, "model.eqx"), CONFIG)
    three = QNetwork(3, key, obs_size=64, encoder="patch", hidden_size=8)
    with pytest.raises(ValueError, match=r"it has memory none instead of gru, number of actions 3 instead of 5"):
        saliency.get_saliency_maps(key, three, CONFIG)
    for decisions in ([], [3], [1, 0], [-1]):
        with pytest.raises(ValueError, match=r"decisions must be some of 0..2, in ascending order"):
            saliency.recall(model, known.episode(3), decisions)


@pytest.mark.slow
def test_the_words_of_the_issue(tmp_path: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    from popgym_arcade.baselines.model.builder import QNetworkRNN
    from popgym_arcade.baselines.utils import get_saliency_maps, vis_fn

    monkeypatch.chdir(tmp_path)
    config = {"ENV_NAME": "NavigatorEasy", "PARTIAL": False, "MEMORY_TYPE": "lru", "SEED": 0}
    rng = jax.random.PRNGKey(config["SEED"])
    network = QNetworkRNN(5, rng, config["MEMORY_TYPE"])
    file = io.BytesIO()
    eqx.tree_serialise_leaves(file, network)
    file.seek(0)
    model = eqx.tree_deserialise_leaves(file, network)
    grads, obs_seq, grad_accumulator = get_saliency_maps(rng, model, config)
    vis_fn(grads, obs_seq, config)
    assert len(grads) == len(grad_accumulator) == 10
    assert capsys.readouterr().out == "wrote NavigatorEasy-mdp-lru-seed0-saliency.png\n"
    assert (tmp_path / "NavigatorEasy-mdp-lru-seed0-saliency.png").exists()
