"""Exact lifting, consistency checks and the rounds of the loop."""

from micromacro.configuration import configure

configure()
