"""The section of a learned coarse variable: states coloured by it, and a row for each round."""

import dataclasses

import numpy as np
import pytest

from micromacro.report import coarsening
from micromacro.report.coarsening import coarse_pictures, coarsening_note, coarsening_table
from micromacro.report.page import render
from tests.report.conftest import SUMMARY, made_up

ROUND = {"round": 1, "states": 300, "change": None, "error": 0.01, "force_evaluations": 1000}
FOUND = {"eigenvalues": [0.99, 0.8, 0.7, 0.6, 0.5123]}


def learned(d: int, coordinates: int = 3):
    rng = np.random.default_rng(0)
    q = rng.normal(size=(200, coordinates)) * np.arange(1, coordinates + 1)
    ends = {"lower": [-1.5] * d, "upper": [2.25] * d}
    rounds = [ROUND | FOUND | ends, ROUND | FOUND | ends | {"round": 2, "change": 0.0123}]
    found = {"rounds": rounds, "settled": True, "reason": "ξ had settled after 2 rounds"}
    summary = SUMMARY | {"coarsening": found}
    return dataclasses.replace(made_up(d), summary=summary, coarse_cloud=(q, q[:, :1].repeat(d, axis=1)))


def test_every_round_has_a_row():
    table = coarsening_table(learned(1))
    assert table.rows == [
        ["1", "300", "–", "−1.5 to 2.25", "0.99, 0.8, 0.7, 0.6"],
        ["2", "300", "0.0123", "−1.5 to 2.25", "0.99, 0.8, 0.7, 0.6"],
    ]
    assert len(table.states) == 2
    assert coarsening_table(learned(2)).rows[0][3] == "−1.5 to 2.25, −1.5 to 2.25"


@pytest.mark.parametrize("d", [1, 2, 3])
def test_every_component_has_a_picture(d):
    data = learned(d)
    pictures = coarse_pictures(data)
    assert len(pictures) == d
    for shown, name in zip(pictures, data.coarse_names, strict=True):
        assert name in shown.caption


def test_the_two_coordinates_that_vary_most_are_drawn(monkeypatch):
    drawn, kept = [], coarsening.picture

    def remembered(figure, *words):
        drawn.append((figure.axes[0].get_xlabel(), figure.axes[0].get_ylabel()))
        return kept(figure, *words)

    monkeypatch.setattr(coarsening, "picture", remembered)
    coarse_pictures(dataclasses.replace(learned(1, 4), observed_names=["a", "b", "c", "d"]))
    assert drawn == [("c", "d")]


def test_states_of_one_coordinate_have_no_picture():
    assert coarse_pictures(learned(1, 1)) == []


def test_the_page_tells_how_it_was_learned():
    data = learned(1)
    page = render(data)
    assert "Learned coarse variable" in page
    assert "ξ had settled after 2 rounds" in coarsening_note(data)
    assert "ξ had settled after 2 rounds" in page
    assert "Sampled states coloured by x" in page


@pytest.mark.parametrize("summary", [SUMMARY, SUMMARY | {"coarsening": None}])
def test_where_it_was_known_there_is_no_such_section(summary):
    data = dataclasses.replace(made_up(1), summary=summary)
    assert coarse_pictures(data) == []
    assert coarsening_table(data).rows == []
    assert coarsening_note(data) == ""
    assert "Learned coarse variable" not in render(data)
