"""Student's t distribution, for degrees of freedom that need not be whole."""

import math

from scipy import special


def t_ppf(p: float, df: float) -> float:
    """Return the quantile of Student's t distribution.

    Parameters
    ----------
    p : float
        Lower tail probability, in (0, 1).
    df : float
        Degrees of freedom; infinity gives the normal quantile.

    Returns
    -------
    float
        The value below which t lies with probability `p`.
    """
    return float(special.stdtrit(df, p))


def t_sf(excess: float, se: float, df: float) -> float:
    """Return the one-sided p-value of 'the mean is above 0'.

    Parameters
    ----------
    excess : float
        Estimate less the margin that it is tested against.
    se : float
        Standard error of the estimate, in its unit. At 0 the p-value is 0 or 1, and 0.5 for no
        excess.
    df : float
        Degrees of freedom of the standard error.

    Returns
    -------
    float
        The p-value.
    """
    if se == 0:
        return 0.5 if math.isclose(excess, 0, abs_tol=1e-12) else float(excess < 0)
    return float(special.stdtr(df, -excess / se))
