"""`micromacro report`: the page."""

from micromacro.cli.arguments import Out


def report(out: Out) -> None:
    """Write OUT/report.html, one self-contained page."""
    from micromacro.cli.results import load_result

    print(load_result(out).write_report())
