"""Diffusion maps: coordinates of a cloud of points by the slowest modes of a random walk on it."""

from micromacro.configuration import configure

configure()
