"""Whether states that were lifted to known ξ are distributed as the dynamics itself would leave them."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float
from scipy import stats

from micromacro.closures.burst_paths import BurstPaths
from micromacro.closures.lag_study import regress, regression_basis, terms_at
from micromacro.coordinates.coarse import CoarseVariable

LARGEST_SHIFT = 0.1
"""In standard deviations: less does not matter."""


@dataclass(frozen=True)
class LiftingCheck:
    """Whether the starts are distributed, given ξ, as the dynamics would leave them.

    **Arguments:**

    - `shift`: root mean square change of the conditional means of hidden fluctuations from start to healed, in units of
      their standard deviations; the largest.
    - `p_value`: of no change at all.
    """

    shift: float
    p_value: float

    @property
    def passed(self) -> bool:
        """Whether there is no change, or one too small to matter."""
        return self.p_value > 1e-3 or self.shift < LARGEST_SHIFT


def check_lifting(
    coarse: CoarseVariable, paths: BurstPaths, stationary: Float[np.ndarray, "n"], healed: float
) -> LiftingCheck:
    r"""Whether conditional means of Lξ and Γ given the ξ of the moment stay what they were at the start.

    Under weights that make the starts stationary they do, at every lag, if and only if the starts are exact.
    The means at the start and once healed are regressed on functions of ξ, and their coefficients compared.
    """
    late = int(np.flatnonzero(paths.times[paths.term_records] >= healed)[0])
    first, later = terms_at(paths, 0), terms_at(paths, late)
    functions = regression_basis(coarse)
    before, after = functions.matrix(first.coarse), functions.matrix(later.coarse)
    shifts, values = [0.0], [1.0]
    for component in range(first.values.shape[1]):
        one = _fit(before, first.values[:, component], stationary)
        two = _fit(after, later.values[:, component], stationary)
        rest = np.sqrt(np.average((later.values[:, component] - after @ two[0]) ** 2, weights=stationary))
        size = np.sqrt(np.average(later.values[:, component] ** 2, weights=stationary))
        if rest <= 1e-5 * size:
            continue
        change, covariance = one[0] - two[0], one[1] + two[1]
        kept, vectors = np.linalg.eigh(covariance)
        usable = kept > 1e-9 * kept.max()
        score = float(np.sum((vectors.T @ change)[usable] ** 2 / kept[usable]))
        values.append(float(stats.chi2.sf(score, int(usable.sum()))))
        shifts.append(float(np.sqrt(np.average((before @ change) ** 2, weights=stationary)) / rest))
    return LiftingCheck(max(shifts), min(1.0, min(values) * (len(values) - 1 or 1)))


def _fit(functions: np.ndarray, values: np.ndarray, weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Coefficients of a weighted regression, and their covariance whatever the scatter."""
    coefficients = regress(functions, values[:, None], weights)[:, 0]
    influence = functions * (weights * (values - functions @ coefficients))[:, None]
    normal = (functions * weights[:, None]).T @ functions
    bread = np.linalg.inv(normal + 1e-9 * np.trace(normal) / len(normal) * np.eye(len(normal)))
    return coefficients, bread @ (influence.T @ influence) @ bread
