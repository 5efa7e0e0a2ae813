"""The polynomial of TeaCache that maps changes of the modulated input to changes of the output."""

from numpy.polynomial import Polynomial

from fastdiff.models.acceleration.calibration import Calibration
from fastdiff.solvers.errors import UsageError

DEGREE = 4  # of the published polynomials


def fitted_polynomial(calibration: Calibration, degree: int = DEGREE) -> tuple[float, ...]:
    """Return the coefficients, of rising powers, of the least-squares polynomial over all rows and steps.

    The output is what all blocks add. Raises UsageError for fewer changes than coefficients.
    """
    inputs, outputs = (
        changes[:, 1:].flatten().double().numpy() for changes in (calibration.modulated, calibration.stack)
    )
    if len(inputs) <= degree:
        raise UsageError(f"a polynomial of degree {degree} from {len(inputs)} changes: calibrate on more rows or steps")
    return tuple(float(each) for each in Polynomial.fit(inputs, outputs, degree).convert().coef)
