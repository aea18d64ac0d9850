"""Learners of coarse variables, behind one interface."""

from micromacro.configuration import configure

configure()
