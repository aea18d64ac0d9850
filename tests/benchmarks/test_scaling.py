"""The simulation behind the figures of weak scaling, against closed forms; exponents of exact powers."""

import math
import sys

import numpy as np
import pytest

from benchmarks.cost.fit import exponent
from benchmarks.cost.process import measured
from benchmarks.scaling.events import NONE, Overhead, call_seconds
from benchmarks.scaling.weak import efficiency, saturation

DEAR = Overhead(per_call=0.5, per_worker=0.01, send=0.002, back=0.003)


@pytest.mark.parametrize(("tasks", "workers"), [(1, 1), (7, 1), (12, 4), (13, 4), (3, 10)])
def test_equal_tasks_go_in_waves(tasks, workers):
    assert call_seconds([2.0] * tasks, workers, NONE) == pytest.approx(2.0 * math.ceil(tasks / workers))


def test_without_work_only_overhead_is_left():
    assert call_seconds([0.0] * 100, 10, DEAR) == pytest.approx(DEAR.total(100, 10))
    assert DEAR.total(100, 10) == pytest.approx(0.5 + 10 * 0.01 + 100 * 0.005)


def test_answers_that_come_together_wait_for_each_other():
    # all end at once, and are taken in one by one; one that is late is taken in alone
    assert call_seconds([1.0] * 20, 20, DEAR) == pytest.approx(DEAR.begin(20, 20) + 1.0 + 20 * 0.003)
    assert call_seconds([1.0] * 19 + [9.0], 20, DEAR) == pytest.approx(DEAR.begin(20, 20) + 9.0 + 0.003)


def test_whoever_is_free_takes_the_next_task():
    assert call_seconds([3.0, 1.0, 1.0, 1.0], 2, NONE) == pytest.approx(3.0)


def test_half_is_lost_where_overhead_of_all_tasks_is_as_long_as_the_work():
    # two tasks of τ a worker: 2τ / (2τ + 2 W s + ...) falls to one half at W = τ / s, but for what overlaps
    found = saturation([1.0], 2, Overhead(0.0, 0.0, 0.005, 0.0))
    assert found == pytest.approx(200, rel=0.03)
    assert efficiency([1.0], 2, 100, NONE) == pytest.approx(1.0)
    assert efficiency([1.0], 2, 100, Overhead(0.0, 0.0, 0.005, 0.0)) == pytest.approx(2 / 3)


def test_workers_that_never_pay_are_none():
    assert saturation([1.0], 1, Overhead(5.0, 0.0, 0.0, 0.0)) == 0


def test_an_exponent_is_the_slope_and_its_error_that_of_least_squares():
    sizes = np.array([10.0, 30.0, 100.0, 1000.0])
    exact = exponent(sizes, 3 * sizes**1.5)
    assert (exact.value, exact.last) == pytest.approx((1.5, 1.5))
    assert exact.stderr == pytest.approx(0.0, abs=1e-9)
    noisy = 3 * sizes**1.5 * np.exp([0.1, -0.2, 0.0, 0.1])
    value, covariance = np.polyfit(np.log(sizes), np.log(noisy), 1, cov=True)
    found = exponent(sizes, noisy)
    assert found.value == pytest.approx(value[0])
    assert found.stderr == pytest.approx(np.sqrt(covariance[0, 0]))


def test_memory_of_a_process_is_its_own_peak():
    small, large = (measured([sys.executable, "-c", f"x = bytearray({size}); print('done')"]) for size in (0, 10**9))
    assert large.output == "done\n"
    assert 0.95e9 < large.peak < 1.5e9 + small.peak
    assert small.seconds > 0


def test_a_process_that_fails_is_told():
    with pytest.raises(SystemExit, match="exit code 3"):
        measured([sys.executable, "-c", "raise SystemExit(3)"])
