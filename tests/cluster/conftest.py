"""One cluster for the tests of a file."""

import pytest

from micromacro.cluster.connect import local_cluster


@pytest.fixture(scope="module")
def cluster():
    with local_cluster(2) as two:
        yield two
