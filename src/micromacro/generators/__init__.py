"""Conditional generators."""

from micromacro.configuration import configure

configure()
