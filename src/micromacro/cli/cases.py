"""`micromacro cases`: the built-in cases."""

from micromacro.cli.tables import print_table


def cases() -> None:
    """List the built-in cases.

    Each with its name, dimension, coarse variable and what is known exactly.
    """
    from micromacro.cases.builtin import BUILTIN_DESCRIPTIONS

    print_table(
        ("name", "dimension", "coarse variable", "known exactly"),
        [(name, str(case.dimension), case.coarse, case.known) for name, case in BUILTIN_DESCRIPTIONS.items()],
    )
