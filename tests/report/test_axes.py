"""Axes of angles, histograms of angles, lines that go on round the period, and which values are shown."""

import dataclasses

import numpy as np
import pytest
from matplotlib.figure import Figure

from micromacro.report.angles import BINS, angle_density
from micromacro.report.axes import angle_text, axis_label, coarse_map, is_angle, show_along, value_text
from micromacro.report.pdb_text import pdb_bonds
from micromacro.report.shown_values import spread_values
from micromacro.report.style import _wrapped, map_figure
from tests.report.conftest import made_up
from tests.report.dipeptide import dipeptide


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.0, "0"),
        (1e-17, "0"),
        (np.pi, "π"),
        (-np.pi, "−π"),
        (-np.pi / 2, "−π/2"),
        (3 * np.pi / 4, "3π/4"),
        (2 * np.pi, "2π"),
        (np.pi / 12, "π/12"),
    ],
)
def test_fractions_of_pi(value, text):
    assert angle_text(value) == text


def turning(data, lower=-np.pi, upper=np.pi):
    d = data.dimension
    return dataclasses.replace(data, lower=np.full(d, lower), upper=np.full(d, upper), periodic=(True,) * d)


def test_what_is_periodic_over_a_full_turn_is_an_angle():
    data = made_up(1)
    assert not is_angle(data, 0)
    assert axis_label(data, 0) == "x"
    assert value_text(data, np.array([-0.31234])) == "x = −0.312"
    assert is_angle(turning(data), 0)
    assert axis_label(turning(data), 0) == "x (rad)"
    assert value_text(turning(data), np.array([-np.pi / 2])) == "x = −1.57 (−90°)"


def test_a_molecule_says_which_of_its_variables_are_angles():
    molecule = dataclasses.replace(dipeptide(np.array([[0.5]]), 1), coarse_is_angle=(False,), units={"x": "nm"})
    data = dataclasses.replace(turning(made_up(1)), molecule=molecule)
    assert not is_angle(data, 0)
    assert axis_label(data, 0) == "x (nm)"


@pytest.mark.parametrize(("lower", "upper", "ticks"), [(-np.pi, np.pi, 5), (0.0, np.pi, 5), (-1.0, 1.0, 7)])
def test_ticks_are_fractions_of_pi_within_the_range(lower, upper, ticks):
    molecule = dataclasses.replace(dipeptide(np.array([[0.5]]), 1), coarse_is_angle=(True,))
    data = dataclasses.replace(turning(made_up(1), lower, upper), molecule=molecule)
    axes = Figure().subplots()
    show_along(axes, data)
    shown = [tick for tick in axes.get_xticks() if lower - 1e-9 <= tick <= upper + 1e-9]
    assert len(shown) == ticks
    assert all("π" in angle_text(tick) or tick == pytest.approx(0) for tick in shown)


def test_two_angles_have_one_scale_and_degrees_beside():
    figure, axes = map_figure()
    data = turning(made_up(2))
    coarse_map(axes, data, data.free_energy, "F", contours=1.0)
    figure.draw_without_rendering()
    assert axes.get_aspect() == 1.0
    labels = [text.get_text() for side in axes.child_axes for text in side.get_xticklabels() + side.get_yticklabels()]
    assert {"−180°", "−90°", "0°", "90°", "180°"} <= set(labels)
    plain, other = map_figure()[1], made_up(2)
    coarse_map(plain, other, other.free_energy, "F")
    assert plain.get_aspect() == "auto"


def test_lines_go_on_at_the_other_side():
    grid, values = [np.array([-1.0, 0.0, 1.0]), np.array([0.0, 2.0])], np.arange(6.0).reshape(3, 2)
    points, wrapped = _wrapped(grid, values, (True, False))
    np.testing.assert_array_equal(points[0], [-2, -1, 0, 1, 2])
    np.testing.assert_array_equal(points[1], grid[1])
    np.testing.assert_array_equal(wrapped, values[[2, 0, 1, 2, 0]])


def test_histograms_of_angles_are_densities_on_the_circle():
    rng = np.random.default_rng(0)
    angles = rng.uniform(-9, 9, 1000)
    assert np.sum(angle_density(angles)) * np.diff(BINS)[0] == pytest.approx(1)
    np.testing.assert_array_equal(angle_density(np.array([np.pi + 0.01])), angle_density(np.array([0.01 - np.pi])))
    assert angle_density(np.array([np.nan, np.pi]))[0] > 0
    assert not angle_density(np.array([np.nan])).any()


def test_shown_values_are_the_low_ones_and_apart():
    axis = (np.arange(36) + 0.5) / 36 * 2 * np.pi - np.pi
    points = np.stack(np.meshgrid(axis, axis, indexing="ij"), -1).reshape(-1, 2)
    energy = 5 * (1 - np.cos(points - np.array([3.1, 1.0]))).sum(axis=1)
    energy[:40] = np.nan
    chosen = spread_values(points, energy, np.full(2, 2 * np.pi), (True, True), 5)
    assert chosen[0] == np.nanargmin(energy)
    assert len(chosen) == 5
    gap = points[chosen][:, None] - points[chosen][None]
    gap = np.linalg.norm(gap - 2 * np.pi * np.round(gap / (2 * np.pi)), axis=-1)
    assert gap[~np.eye(5, dtype=bool)].min() >= 0.18 * 2 * np.pi
    assert energy[chosen].max() <= np.nanmin(energy) + 8
    nowhere = spread_values(points, np.full(len(points), np.nan), np.full(2, 6.0), (False, False), 5)
    assert len(nowhere) == 0


def test_atoms_of_many_bonds_have_several_records():
    molecule = dataclasses.replace(dipeptide(np.array([[0.5]]), 1), bonds=tuple((0, other) for other in range(1, 7)))
    assert pdb_bonds(molecule).splitlines()[:2] == ["CONECT    1    2    3    4    5", "CONECT    1    6    7"]
    assert pdb_bonds(dataclasses.replace(molecule, bonds=())) == ""
