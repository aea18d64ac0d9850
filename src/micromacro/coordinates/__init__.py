"""Coarse variables."""

from micromacro.configuration import configure

configure()
