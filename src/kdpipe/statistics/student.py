"""Student's t distribution, for degrees of freedom that need not be whole."""

import math

from scipy import special


def quantile(p: float, df: float) -> float:
    """Below which a t with so many degrees of freedom lies with probability p."""
    return float(special.stdtrit(df, p))


def tail(excess: float, se: float, df: float) -> float:
    """p-value of 'above 0' for an estimate with its standard error and degrees of freedom."""
    if se == 0:
        return 0.5 if math.isclose(excess, 0, abs_tol=1e-12) else float(excess < 0)
    return float(special.stdtr(df, -excess / se))
