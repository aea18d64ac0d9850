"""Micro models and what is known of them exactly."""

from micromacro.configuration import configure

configure()
