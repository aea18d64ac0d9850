"""Numbers and verdicts as text."""

import dataclasses

import numpy as np
import pytest

from micromacro.report.tables import number, provenance, verdict


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "–"),
        (float("nan"), "–"),
        (np.float64("nan"), "–"),
        (float("inf"), "∞"),
        (0, "0"),
        (0.0, "0"),
        (1.0, "1"),
        (0.0131, "0.0131"),
        (-1.5, "−1.5"),
        (1.234, "1.23"),
        (143.2, "143"),
        (307_200, "307\u202f200"),
        (48_211_968, "4.82 × 10⁷"),
        (2.5e-6, "2.50 × 10⁻⁶"),
        ("3 of 4", "3 of 4"),
    ],
)
def test_numbers_as_text(value, text):
    assert number(value) == text


@pytest.mark.parametrize(
    ("passed", "state", "sentence"),
    [
        ([True, True], "passed", "Consistent: all 2 checks passed."),
        ([True, None], "passed", "Consistent: the one check that applies passed. 1 not applicable."),
        ([True, False, None], "failed", "Not consistent: 1 of 2 checks failed (free energy). 1 not applicable."),
        ([None], "skipped", "No check applied. 1 not applicable."),
        ([], "skipped", "No checks were made."),
    ],
)
def test_verdict(make, passed, state, sentence):
    names = ["mixing", "free_energy", "overlap"]
    checks = {name: {"passed": flag} for name, flag in zip(names, passed, strict=False)}
    data = make(1)
    assert verdict(dataclasses.replace(data, summary={"consistency": checks})) == (state, sentence)


def test_provenance_names_what_was_run(make):
    data = make(1)
    line = provenance(data)
    for part in ("version 0.1.0", "case hidden-barrier", "method coupled", "seed 0", "device cpu (2 cores)"):
        assert part in line
