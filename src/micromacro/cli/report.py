"""`micromacro report`: the page."""

from micromacro.cli.arguments import Out


def report(out: Out) -> None:
    """Write OUT/report.html, one self-contained page."""
    from micromacro.cli.results import results_of

    with results_of(out) as result:
        print(result.write_report())
