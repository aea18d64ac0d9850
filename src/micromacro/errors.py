"""Errors that a user can act on: each says what was required, what was given and what to do next."""

LONGEST_GIVEN = 1000
"""Characters of what was given that a message repeats."""


class MicromacroError(Exception):
    """Base of every error that the command line shows as one message instead of a traceback."""


class InputError(MicromacroError):
    """A case file, an option or an argument that does not hold what it must.

    **Arguments:**

    - `parameter`: the name of the key, option or argument.
    - `requirement`: what it must be.
    - `given`: what was found.
    - `source`: the file that holds it, where there is one.
    - `remedy`: what to do next, where it does not follow from the requirement.
    """

    def __init__(
        self,
        parameter: str,
        requirement: str,
        given: object,
        *,
        source: str | None = None,
        remedy: str | None = None,
    ):
        self.parameter = parameter
        self.requirement = requirement
        self.given = given
        where = f"{source}: " if source else ""
        advice = f" {remedy}" if remedy else ""
        text = f"{shortened(parameter)} must {requirement}; got {shortened(str(given))}."
        super().__init__(f"{where}{text}{advice}")


def shortened(text: str) -> str:
    """What a stranger gave, no longer than a message may be."""
    return text if len(text) <= LONGEST_GIVEN else f"{text[:LONGEST_GIVEN]}…"


class PhysicsError(MicromacroError):
    """A simulation that failed: names the window, the step and the remedy."""

    def __init__(self, what: str, *, where: str, remedy: str):
        super().__init__(f"{what} ({where}). {remedy}")


class BudgetError(MicromacroError):
    """The budget of force evaluations cannot hold the work that was asked for."""


class StoreError(MicromacroError):
    """A results directory that cannot be read or may not be written."""


class ClusterError(MicromacroError):
    """Workers that cannot be reached, or that failed at a task wherever it was tried."""
