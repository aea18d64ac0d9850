import sys

import pytest


def test_options_reach_the_pipeline(micromacro, pipeline, tmp_path):
    answer = micromacro(
        *("run", "hidden-barrier", "-o", tmp_path / "out", "--method", "umbrella", "--generator", "score"),
        *("--seed", "7", "--budget", "2e6", "--set", "bias.steps=100", "--set", "bias.walkers=8", "--quiet"),
    )
    assert answer.code == 0
    (call,) = pipeline.calls
    assert (call.case.name, call.case.seed, call.case.budget) == ("hidden-barrier", 7, 2_000_000)
    assert (call.case.bias.steps, call.case.bias.walkers) == (100, 8)
    assert (call.out, call.method, call.resume, call.progress.quiet) == (tmp_path / "out", "umbrella", False, True)


def test_verdict_is_printed_and_does_not_fail_the_run(micromacro, pipeline, tmp_path):
    answer = micromacro("run", "hidden-barrier", "-o", tmp_path / "out")
    assert answer.code == 0
    assert answer.out.splitlines() == [
        "basin left: F = 0 ± 0.01 kT",
        "basin right: F = 0.123 ± 0.02 kT",
        "checks passed: mixing",
        "checks FAILED: overlap",
        "checks not judged: dynamics",
        "1,000,000 force evaluations in 12.3 s",
        f"results: {tmp_path / 'out'}",
    ]


def test_results_are_not_overwritten(micromacro, pipeline, finished):
    answer = micromacro("run", "hidden-barrier", "-o", finished)
    assert answer.code == 2
    assert answer.err == (
        f"Error: OUT must hold no results; got {finished}, which does. "
        "Give --resume to go on with them, or another OUT.\n"
    )
    assert len(pipeline.calls) == 1


def test_resuming_keeps_the_settings(micromacro, pipeline, tmp_path):
    out = tmp_path / "out"
    micromacro("run", "hidden-barrier", "-o", out, "--seed", "7", "--budget", "1e6")
    assert micromacro("run", "hidden-barrier", "-o", out, "--resume", "--budget", "3e6").code == 0
    last = pipeline.calls[-1]
    assert (last.resume, last.case.seed, last.case.budget) == (True, 7, 3_000_000)


def test_resuming_nothing_begins(micromacro, pipeline, tmp_path):
    (tmp_path / "empty").mkdir()
    for out in (tmp_path / "empty", tmp_path / "missing"):
        assert micromacro("run", "hidden-barrier", "-o", out, "--resume").code == 0
        assert (out / "case" / "case.json").exists()


def test_out_that_is_a_file(micromacro, pipeline, tmp_path):
    (tmp_path / "out").write_text("")
    answer = micromacro("run", "hidden-barrier", "-o", tmp_path / "out")
    assert (answer.code, answer.err) == (2, f"Error: OUT must be a folder; got {tmp_path / 'out'}, which is a file.\n")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--seed", "-1"], "command line: seed must be at least 0; got -1."),
        (["--budget", "0"], "command line: budget.force_evaluations must be at least 1; got 0.0."),
        (
            ["--set", "generator.schedule=cosine"],
            "command line: generator.schedule must be 'edm', 've' or 'vp'; got 'cosine'.",
        ),
    ],
)
def test_refused_options(micromacro, pipeline, tmp_path, arguments, message):
    answer = micromacro("run", "hidden-barrier", "-o", tmp_path / "out", *arguments)
    assert (answer.code, answer.err) == (2, f"Error: {message}\n")
    assert not pipeline.calls
    assert not (tmp_path / "out").exists()


def test_interruption_says_how_to_go_on(micromacro, pipeline, tmp_path, monkeypatch):
    def interrupted(*_, **__):
        raise KeyboardInterrupt

    monkeypatch.setattr(sys.modules["micromacro.run"], "run", interrupted)
    out = tmp_path / "out"
    answer = micromacro("run", "hidden-barrier", "-o", out, "--seed", "3")
    assert answer.code == 130
    assert answer.err == f"Interrupted. To go on: micromacro run hidden-barrier -o {out} --seed 3 --resume\n"
