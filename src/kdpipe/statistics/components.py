"""Where the spread of crossed values comes from, and how sure their mean is.

Values crossed over random factors (seeds x images; seeds x splits x images), one in each cell, are
`mean + a sum of one effect for every set of factors`, all independent. With n(F) the number of
cells of a set F of factors and N that of all:

    MS(F) = sum of squares of the effects of F / the product over F of (levels - 1)
    variance component of F = n(F) / N * sum over G containing F of (-1)^(|G| - |F|) MS(G)
    variance of the mean = sum over F of its component / n(F)

The first two are the analysis of variance of a balanced random model (Searle, Casella and
McCulloch, Variance Components, 1992, sections 4.3 and 5.2); a component that comes out negative is
0. The degrees of freedom of the variance are Satterthwaite's (1946), its squares summed over all
mean squares, and not below those of the factor with the fewest levels. Of one factor all this is
the t interval.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import combinations

import numpy as np

from kdpipe.statistics.student import quantile, tail

Factors = tuple[str, ...]


@dataclass(frozen=True)
class Crossed:
    """A mean over crossed random factors: the variance of it, and what that is made of.

    `components`: the variance that each set of factors adds to a single value, in the unit of the
    values squared; a set is written in the order of `levels`, which has the size of each factor.
    """

    mean: float
    variance: float
    df: float
    levels: dict[str, int]
    components: dict[Factors, float]

    def part(self, *without: str) -> float:
        """The variance of the mean that more levels of these factors would not take away."""
        return sum(
            component / math.prod(self.levels[name] for name in factors)
            for factors, component in self.components.items()
            if not set(factors) & set(without)
        )

    def df_at(self, factor: str, size: int) -> float:
        """Degrees of freedom to be expected of a mean that has so many levels of a factor."""
        levels = {name: size if name == factor else now for name, now in self.levels.items()}
        cells = {some: math.prod(levels[name] for name in some) for some in self.components}
        variance = sum(part / cells[some] for some, part in self.components.items())
        spread = 0.0
        for some in self.components:
            above = [other for other in self.components if set(some) <= set(other)]
            square = sum(self.components[other] / cells[other] for other in above)
            spread += square**2 / math.prod(levels[name] - 1 for name in some)
        fewest = float(min(levels.values()) - 1)
        return max(fewest, variance**2 / spread) if spread > 0 else fewest

    def interval(self, level: float = 0.95) -> tuple[float, float]:
        """Low and high of the t interval of the mean."""
        half = quantile((1 + level) / 2, self.df) * math.sqrt(self.variance)
        return self.mean - half, self.mean + half

    def above(self, margin: float = 0.0) -> float:
        """p-value of 'the mean is above margin'."""
        return tail(self.mean - margin, math.sqrt(self.variance), self.df)

    def below(self, margin: float = 0.0) -> float:
        """p-value of 'the mean is below margin'."""
        return tail(margin - self.mean, math.sqrt(self.variance), self.df)


def crossed(values: np.ndarray, *factors: str) -> Crossed:
    """The components of values crossed over random factors, one for each axis of the array.

    Raises ValueError if a factor has fewer than two levels, a value is not finite, or the names do
    not fit the axes.
    """
    values = np.asarray(values, dtype=float)
    if len(factors) != values.ndim or len(set(factors)) < len(factors):
        raise ValueError(f"{values.ndim} axes need as many names, not {', '.join(factors)}")
    if min(values.shape, default=0) < 2 or not np.isfinite(values).all():
        raise ValueError(f"every cell of two levels and more is needed: {values.shape}")
    mean, axes = float(values.mean()), tuple(range(values.ndim))
    squares, df = _squares(values - mean), {}
    for some in _sets(axes):
        df[some] = math.prod(values.shape[axis] - 1 for axis in some)
        squares[some] /= df[some]
    components, variance = {}, 0.0
    for some in _sets(axes):
        cells = math.prod(values.shape[axis] for axis in some)
        alternating = sum(
            (-1) ** (len(other) - len(some)) * square
            for other, square in squares.items()
            if set(some) <= set(other)
        )
        component = max(0.0, float(alternating)) * cells / values.size
        components[tuple(factors[axis] for axis in some)] = component
        variance += component / cells
    spread = sum((squares[some] / values.size) ** 2 / df[some] for some in squares)
    fewest = min(values.shape) - 1
    known = max(float(fewest), variance**2 / spread) if spread > 0 else float(fewest)
    levels = dict(zip(factors, values.shape, strict=True))
    return Crossed(mean, variance, known, levels, components)


def _squares(centred: np.ndarray) -> dict[tuple[int, ...], float]:
    """The sum of squares of the effects of every set of axes."""
    axes = tuple(range(centred.ndim))
    raw: dict[tuple[int, ...], float] = {(): 0.0}
    for some in _sets(axes):
        others = tuple(axis for axis in axes if axis not in some)
        means = centred.mean(axis=others)
        raw[some] = float((means * means).sum()) * centred.size / means.size
    found = {}
    for some in _sets(axes):
        found[some] = raw[some] - sum(found[part] for part in _sets(some) if part != some)
        if found[some] <= 1e-12 * raw[axes]:  # rounding
            found[some] = 0.0
    return found


def _sets(axes: tuple[int, ...]) -> Iterator[tuple[int, ...]]:
    """Every set of one axis and more, the small ones first."""
    for size in range(1, len(axes) + 1):
        yield from combinations(axes, size)
