"""Sampling: engines, windows, moves."""

from micromacro.configuration import configure

configure()
