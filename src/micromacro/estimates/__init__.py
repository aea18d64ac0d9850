"""Estimates: free energies, effective sample sizes, distances between samples."""

from micromacro.configuration import configure

configure()
