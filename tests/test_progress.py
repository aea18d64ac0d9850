import io

import pytest

from micromacro.progress import Progress


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_lines_come_seldom_and_hold_the_rate(clock):
    stream = io.StringIO()
    with Progress(stream=stream).stage("bias", total=4000, unit="walker-steps") as stage:
        for second in range(1, 9):
            clock.now = float(second)
            stage.advance(500)
    assert stream.getvalue().splitlines() == [
        "bias: 2.5k walker-steps (62%), 500 walker-steps/s",
        "bias: done in 8.0 s, 4k walker-steps, 500 walker-steps/s",
    ]


def test_quiet_says_nothing():
    stream = io.StringIO()
    with Progress(quiet=True, stream=stream).stage("bias", total=1) as stage:
        stage.advance(1)
    assert stream.getvalue() == ""


def test_a_stage_that_fails_is_not_done():
    stream = io.StringIO()
    with pytest.raises(KeyError), Progress(stream=stream).stage("bias"):
        raise KeyError
    assert stream.getvalue() == ""


def test_a_terminal_gets_a_bar():
    stream = Terminal()
    shown = Progress(stream=stream)
    with shown.stage("rounds", total=2) as outer:
        for _ in range(2):
            with shown.stage("learn", total=10, unit="steps") as inner:
                inner.advance(10)
            outer.advance()
    assert "learn" in stream.getvalue()
    assert "steps/s" in stream.getvalue()
