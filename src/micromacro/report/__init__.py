"""The page of a run: figures and tables of results that are computed elsewhere."""

from micromacro.configuration import configure

configure()
