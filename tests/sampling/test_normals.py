"""The normal numbers: known answers, distribution, independence, and whether the tests would see a broken stream."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy import stats

from micromacro.sampling.normals import _sine_cosine, cartesian, polar, threefry, words

STANDARD_ERRORS = 4.5


@partial(jax.jit, static_argnames=("walkers", "steps", "dtype"))
def draw(words, walkers, steps, dtype):
    """Numbers `(steps, 2, walkers)`."""
    numbers = jnp.arange(walkers, dtype=jnp.uint32)
    return jax.lax.map(
        lambda step: cartesian(*polar(words, numbers, step, 1, np.dtype(dtype))), jnp.arange(steps, dtype=jnp.uint32)
    )


@pytest.fixture(scope="module", params=["float32", "float64"])
def numbers(request):
    return np.asarray(draw(words(jax.random.key(7)), 2500, 2000, request.param))


def worst_correlation(first, second):
    """The largest correlation of pairs of rows, in standard errors, and of them all together."""
    products = first * second
    each = np.abs(products.mean(axis=1)) * np.sqrt(products.shape[1])
    return each.max(), abs(products.mean()) * np.sqrt(products.size)


@pytest.mark.parametrize(
    ("counter", "key", "answer"),
    [
        ((0x00000000, 0x00000000), (0x00000000, 0x00000000), (0x6B200159, 0x99BA4EFE)),
        ((0xFFFFFFFF, 0xFFFFFFFF), (0xFFFFFFFF, 0xFFFFFFFF), (0x1CB996FC, 0xBB002BE7)),
        ((0x243F6A88, 0x85A308D3), (0x13198A2E, 0x03707344), (0xC4923A9C, 0x483DF7A0)),
    ],
)
def test_threefry_gives_the_known_answers_of_random123(counter, key, answer):
    result = threefry(jnp.array(key, jnp.uint32), jnp.uint32(counter[0]), jnp.uint32(counter[1]))
    assert tuple(map(int, result)) == answer


@pytest.mark.parametrize(("width", "ulps"), [(32, 2), (64, 2)])
def test_sine_and_cosine_are_exact_to_rounding(width, ulps):
    bits = np.random.default_rng(0).integers(0, 2**width, 100_000, dtype=f"uint{width}")
    dtype = np.dtype(f"float{width}")
    angles = bits.astype(f"int{width}").astype(np.longdouble) * (np.pi / 2 / 2.0**width)
    sine, cosine = _sine_cosine(jnp.asarray(bits), dtype)
    epsilon = np.finfo(dtype).eps
    assert np.abs(np.asarray(sine) - np.sin(angles)).max() < ulps * epsilon
    assert np.abs(np.asarray(cosine) - np.cos(angles)).max() < ulps * epsilon


def test_moments_are_those_of_a_normal(numbers):
    moments = [(1, 0, 1), (2, 1, 2), (3, 0, 15), (4, 3, 96), (6, 15, 10170)]  # power, mean, variance of the power
    for power, mean, variance in moments:
        error = np.mean(numbers.astype(np.float64) ** power) - mean
        assert abs(error) < STANDARD_ERRORS * np.sqrt(variance / numbers.size), power


def test_ten_million_numbers_pass_kolmogorov_and_smirnov(numbers):
    assert numbers.size == 10_000_000
    assert stats.kstest(numbers.ravel(), "norm").pvalue > 1e-4


@pytest.mark.parametrize("threshold", [3.0, 4.0, 4.75])
def test_tails_have_their_weight(numbers, threshold):
    expected = 2 * stats.norm.sf(threshold) * numbers.size
    found = np.count_nonzero(np.abs(numbers) > threshold)
    assert abs(found - expected) < STANDARD_ERRORS * np.sqrt(expected) + 1


def test_numbers_are_uncorrelated_along_steps_walkers_and_components(numbers):
    for values in (numbers, numbers**2 / np.sqrt(2) - np.sqrt(0.5)):
        for first, second in [
            (values[:-1], values[1:]),
            (values[..., :-1], values[..., 1:]),
            (values[..., :-384], values[..., 384:]),
            (values[:, :1], values[:, 1:]),
        ]:
            rows = [np.moveaxis(part, 2, 0).reshape(part.shape[2], -1) for part in (first, second)]
            worst, together = worst_correlation(*rows)
            assert worst < 6  # of 2,500
            assert together < STANDARD_ERRORS


@pytest.mark.parametrize("broken", ["one stream for two walkers", "a step repeated", "sine for cosine"])
def test_a_broken_stream_is_caught(broken):
    values = np.array(draw(words(jax.random.key(7)), 100, 100, "float32"))
    if broken == "one stream for two walkers":
        values[..., 41] = values[..., 40]
        worst, _ = worst_correlation(values[..., :-1].T.reshape(99, -1), values[..., 1:].T.reshape(99, -1))
    elif broken == "a step repeated":
        values[51] = values[50]
        worst, _ = worst_correlation(values[:-1].reshape(99, -1), values[1:].reshape(99, -1))
    else:
        values[:, 1] = values[:, 0]
        worst, _ = worst_correlation(values[:, 0], values[:, 1])
    assert worst > 6


@pytest.mark.parametrize("along", ["walkers", "steps"])
def test_every_bit_is_fair_and_bytes_are_uniform(along):
    count = jnp.arange(1_000_000, dtype=jnp.uint32)
    zero = jnp.zeros_like(count)
    key = words(jax.random.key(3))[0]
    for values in map(np.asarray, threefry(key, *((count, zero) if along == "walkers" else (zero, count)))):
        ones = np.array([np.count_nonzero(values & np.uint32(1 << bit)) for bit in range(32)])
        assert np.abs(ones - 500_000).max() < STANDARD_ERRORS * 500
        for place in range(4):
            counts = np.bincount(values.view(np.uint8)[place::4], minlength=256)
            assert stats.chisquare(counts).pvalue > 1e-4


def test_a_key_gives_one_stream_and_another_key_another():
    one, again, other = (draw(words(jax.random.key(seed)), 50, 50, "float32") for seed in (1, 1, 2))
    assert np.array_equal(one, again)
    assert abs(np.mean(one * other)) < STANDARD_ERRORS / np.sqrt(one.size)


def test_the_numbers_of_a_walker_do_not_depend_on_its_company():
    key, step = words(jax.random.key(1)), jnp.uint32(5)
    together = cartesian(*polar(key, jnp.arange(100, dtype=jnp.uint32), step, 3, np.dtype("float32")))
    alone = cartesian(*polar(key, jnp.array([42], jnp.uint32), step, 3, np.dtype("float32")))
    np.testing.assert_allclose(together[:, 42:43], alone, rtol=1e-6)
