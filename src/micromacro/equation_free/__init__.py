"""Equation-free computation: the full model in short bursts stands in for a coarse equation that nobody writes down."""

from micromacro.configuration import configure

configure()
