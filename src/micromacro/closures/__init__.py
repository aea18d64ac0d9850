"""Closures: projected drift and diffusion, conditional averages, reduced dynamics and the free energy they imply."""

from micromacro.configuration import configure

configure()
