"""Routes to the closure, the study of the lag and the comparison with the full model, as the page shows them."""

import dataclasses

import numpy as np
import pytest

from micromacro.closures.lag_study import LagStudy
from micromacro.report.page import render
from micromacro.report.reduction import agreement_table, lag_picture, reduction_note, routes_table
from tests.report.conftest import SUMMARY, made_up

RATIO = {"reduced": 1.1, "full": 1.0, "ratio": 1.1, "stderr": 0.02}
REDUCTION = {
    "bursts": {"lags": [0.2, 0.3], "force_evaluations": 2_000_000, "healing_time": 0.17},
    "learned": {"lag": 0.5, "reason": "squared residuals 0.99 of what D says"},
    "agreement": {"projected": {"ratios": {"slowest time scale": RATIO}, "fast": 0.06, "slow": 1.1}},
    "reasons": {},
}


def study(plateau=(0.2, 0.4)) -> LagStudy:
    lags = np.linspace(0, 0.4, 9)
    ratio, error = 1 + 0.1 * np.tanh(10 * lags), np.full(9, 0.01)
    return LagStudy(lags, ratio, error, ratio, error, np.exp(-20 * lags), 0.17, plateau, "slopes settle by lag 0.2")


@pytest.fixture
def complete():
    data = made_up(1)
    others = {"bursts": data.closure, "learned": data.closure}
    summary = SUMMARY | {"reduction": REDUCTION}
    return dataclasses.replace(data, other_closures=others, lag_study=study(), summary=summary)


def test_every_route_is_named_with_its_lag(complete):
    rows = {row[0]: row for row in routes_table(complete).rows}
    assert list(rows) == ["projected", "bursts", "learned"]
    assert rows["bursts"][2] == "between 0.2 and 0.3"
    assert rows["learned"][2] == "lag 0.5"


def test_times_are_shown_as_ratios_with_errors(complete):
    assert agreement_table(complete).rows == [["projected", "slowest time scale", "1.1", "1", "1.1", "0.02"]]
    assert "relax in 0.06" in reduction_note(complete)


def test_the_page_holds_the_study_of_the_lag(complete):
    (picture,) = lag_picture(complete)
    assert "Slopes settle by lag 0.2" in picture.caption
    page = render(complete)
    assert "Routes to the closure" in page
    assert "slowest time scale" in page


def test_what_is_missing_has_its_reason(complete):
    reasons = dict.fromkeys(("bursts", "learned", "full_model"), "no gap between time scales")
    summary = SUMMARY | {"reduction": {"bursts": None, "learned": None, "agreement": {}, "reasons": reasons}}
    data = dataclasses.replace(complete, summary=summary, lag_study=None, other_closures={})
    table = routes_table(data)
    assert [row[3] for row in table.rows[1:]] == ["no gap between time scales"] * 2
    assert table.states == ["", "skipped", "skipped"]
    assert lag_picture(data) == []
    assert "Not compared with the full model: no gap" in reduction_note(data)
    assert "no gap between time scales" in render(data)


def test_a_study_without_a_plateau_is_drawn(complete):
    assert lag_picture(dataclasses.replace(complete, lag_study=study(plateau=None)))
