"""Figures of conditional samples: what the hidden coordinates do at given coarse values."""

import numpy as np
from matplotlib.axes import Axes

from micromacro.report.axes import angle_ticks, value_text
from micromacro.report.data import ReportData
from micromacro.report.style import ESTIMATE, OTHER, SMALL, Picture, new_figure, picture

MOST_PANELS = 6
MOST_POINTS = 1500
FIXED = 0.02
"""A coordinate is fixed by z where it spreads, given z, by less than this share of its spread over all z."""


def conditional_pictures(data: ReportData) -> list[Picture]:
    """Small panels, one a coarse value: a scatter of two telling coordinates, or a histogram of the only one."""
    samples = [_flattened(data, *sample) for sample in data.conditional_samples]
    samples = [sample for sample in samples if len(sample[1])]
    if not samples:
        return []
    shown = np.unique(np.linspace(0, len(samples) - 1, MOST_PANELS).round().astype(int))
    columns = telling_coordinates([draws for _, draws, _ in samples], data.observed_periods)
    ranges = [_range(data, samples, column) for column in columns]
    return [_panel(data, samples[number], columns, ranges) for number in shown]


def telling_coordinates(draws: list[np.ndarray], periods: np.ndarray | None = None) -> list[int]:
    """One or two coordinates that z leaves free, those most clearly of two humps first.

    Ranked by Sarle's coefficient of bimodality, (skewness² + 1) / kurtosis, at the coarse value where it is largest;
    where there are `periods`, about the mean on the circle, so that one hump at the seam is not two.
    """
    centred = [_centred(sample, periods) for sample in draws]
    spread = np.mean([np.std(sample, axis=0) for sample in centred], axis=0)
    total = np.std(_centred(np.concatenate(draws), periods), axis=0)
    free = np.flatnonzero((spread > FIXED * total) & (spread > 0))
    if len(free) == 0:
        return [int(np.argmax(total))]
    humps = np.max([_bimodality(sample[:, free]) for sample in centred], axis=0)
    chosen = free[np.argsort(-humps, kind="stable")[:2]]
    return sorted(int(column) for column in chosen)


def _centred(sample: np.ndarray, periods: np.ndarray | None) -> np.ndarray:
    """What is left without the mean, that on the circle for periodic coordinates."""
    if periods is not None and np.isfinite(periods).any():
        turn = 2 * np.pi / np.where(np.isfinite(periods), periods, np.inf)
        about = np.angle(np.mean(np.exp(1j * sample * turn), axis=0)) / np.where(turn > 0, turn, 1.0)
        period = np.where(turn > 0, periods, 1.0)
        sample = np.where(turn > 0, sample - about - period * np.round((sample - about) / period), sample)
    return sample - sample.mean(axis=0)


def _bimodality(centred: np.ndarray) -> np.ndarray:
    variance = np.mean(centred**2, axis=0)
    scaled = centred / np.sqrt(np.where(variance > 0, variance, 1.0))
    kurtosis = np.mean(scaled**4, axis=0)
    return (np.mean(scaled**3, axis=0) ** 2 + 1) / np.where(kurtosis > 0, kurtosis, np.inf)


def _flattened(data: ReportData, z, draws, raw):
    """One sample with its states as rows of finite numbers, wrapped about zero where periodic."""
    return np.atleast_1d(z), _rows(data, draws), None if raw is None else _rows(data, raw)


def _rows(data: ReportData, draws) -> np.ndarray:
    rows = np.asarray(draws, float).reshape(len(draws), -1)
    rows = rows[np.isfinite(rows).all(axis=1)]
    if data.observed_periods is None:
        return rows
    period = np.where(np.isfinite(data.observed_periods), data.observed_periods, 1.0)
    return np.where(np.isfinite(data.observed_periods), rows - period * np.round(rows / period), rows)


def _range(data: ReportData, samples: list, column: int) -> tuple[float, float]:
    """The range of a coordinate over all panels; half a period to each side where it has one."""
    period = np.inf if data.observed_periods is None else data.observed_periods[column]
    if np.isfinite(period):
        return -period / 2, period / 2
    low, high = np.quantile(np.concatenate([draws[:, column] for _, draws, _ in samples]), [0.001, 0.999])
    margin = 0.08 * (high - low) or 1.0
    return float(low - margin), float(high + margin)


def _panel(data: ReportData, sample, columns: list[int], ranges: list[tuple[float, float]]) -> Picture:
    z, draws, raw = sample
    figure, (axes,) = new_figure(SMALL)
    at = value_text(data, z, degrees=False)
    if len(columns) == 1:
        _histogram(axes, draws[:, columns[0]], None if raw is None else raw[:, columns[0]], ranges[0])
    else:
        _scatter(axes, draws[:, columns], None if raw is None else raw[:, columns])
    names = [_name(data, column) for column in columns]
    axes.set(title=at, xlabel=names[0], xlim=ranges[0])
    if len(columns) == 2:
        axes.set(ylabel=names[1], ylim=ranges[1])
    for column, axis in zip(columns, (axes.xaxis, axes.yaxis), strict=False):
        if data.observed_periods is not None and np.isclose(data.observed_periods[column], 2 * np.pi):
            angle_ticks(axis, -np.pi, np.pi)
    return picture(figure, f"Conditional draws of {' and '.join(names)} at {at}")


def _histogram(axes: Axes, draws: np.ndarray, raw: np.ndarray | None, limits: tuple[float, float]) -> None:
    low, high = limits
    bins = np.linspace(low, high, 41)
    axes.stairs(_density(draws, bins), bins, fill=True, color=ESTIMATE, alpha=0.75)
    if raw is not None:
        axes.stairs(_density(raw, bins), bins, color=OTHER, linewidth=1.4)
    axes.set_yticks([])
    axes.grid(visible=False)


def _density(values: np.ndarray, bins: np.ndarray) -> np.ndarray:
    """The share of all values in each bin, those outside the bins counted too."""
    return np.histogram(values, bins)[0] / max(len(values), 1)


def _scatter(axes: Axes, draws: np.ndarray, raw: np.ndarray | None) -> None:
    sets = [(draws[:MOST_POINTS], ESTIMATE)] + ([] if raw is None else [(raw[:MOST_POINTS], OTHER)])
    points = np.concatenate([points for points, _ in sets])
    colours = np.concatenate([np.full(len(points), colour) for points, colour in sets])
    order = np.random.default_rng(0).permutation(len(points))  # so that neither set hides the other
    axes.scatter(*points[order].T, s=5, c=list(colours[order]), alpha=0.5, linewidths=0, rasterized=True)


def _name(data: ReportData, column: int) -> str:
    names = data.observed_names
    return names[column] if names is not None and column < len(names) else f"q{column + 1}"
