"""How high a mean may really be, given a sample: exact for 0 and 1, by betting for the rest. Pure.

A p-value here is of the hypothesis that the mean of what was sampled is above a level: when that
is so, the p-value is at most p with probability p at most. That of 0 and 1 is exact (Clopper &
Pearson 1934). That of losses in between bets against the hypothesis, and asks what became of a
capital of 1 (Waudby-Smith & Ramdas, "Estimating means of bounded random variables by betting",
JRSSB 86, 2024); more than 1 / p is as unlikely as p, by Markov's inequality.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from wherever_contracts.tensors import Array

# Halvings after which nothing is left of [0, 1] in a float64.
_HALVINGS = 60
# The stake that wins most at an error of some hundredths is 2.5 / sqrt(n * level * v), where v is
# the variance as a share of that of 0 and 1. Nobody knows v: the capital is divided among stakes.
_STAKES = np.geomspace(1.8, 8.0, 4)


def binomial_tail(k: int, n: int, p: float) -> float:
    """How likely at most `k` of `n` are hit, when each is with probability `p`; exact.

    Raises:
        ValueError: for a `p` outside of [0, 1] or a negative `n`.
    """
    check_count(n)
    if not 0.0 <= p <= 1.0:
        raise ValueError(f"a probability is 0 to 1; found {p}")
    if k < 0:
        return 0.0
    if k >= n or p == 0.0:
        return 1.0
    if p == 1.0:
        return 0.0
    hits = np.arange(1, k + 1)
    steps = np.log((n - hits + 1) / hits) + math.log(p) - math.log1p(-p)
    logs = n * math.log1p(-p) + np.concatenate(([0.0], np.cumsum(steps)))
    return min(1.0, math.exp(np.logaddexp.reduce(logs)))


def clopper_pearson(k: int, n: int, error: float) -> float:
    """How high the share may be that `k` hits of `n` were drawn from.

    It is higher with probability `error` at most (Clopper & Pearson, "The use of confidence or
    fiducial limits illustrated in the case of the binomial", Biometrika 26, 1934).

    Raises:
        ValueError: for an `error` outside of (0, 1), or a `k` outside of 0 to `n`.
    """
    check_share("error", error)
    if not 0 <= k <= n:
        raise ValueError(f"of {n} none to {n} are hit; found {k}")
    if k == n:
        return 1.0
    low, high = k / n, 1.0
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if binomial_tail(k, n, middle) <= error else (middle, high)
    return high


def most_errors(n: int, level: float, error: float) -> int:
    """The most errors of `n` that still refute a share above `level`, but for `error`; -1: none.

    Raises:
        ValueError: for a `level` or `error` outside of (0, 1), or a negative `n`.
    """
    check_share("level", level)
    check_share("error", error)
    check_count(n)
    low, high = -1, n
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (middle, high) if binomial_tail(middle, n, level) <= error else (low, middle)
    return low


def fewest_pairs(level: float, error: float, *, whole: bool = True) -> int:
    """How many losses of 0 it takes to refute a mean above `level`, but for `error`.

    Args:
        level: in (0, 1).
        error: in (0, 1).
        whole: whether losses are 0 or 1 and nothing in between.

    Raises:
        ValueError: for a `level` or `error` outside of (0, 1).
    """
    check_share("level", level)
    check_share("error", error)
    # as many as the highest stake takes when it starts with its share; the exact test takes fewer
    low, high = 0, math.ceil(math.log(_STAKES.size / error) / math.log1p(level)) + 1
    while high - low > 1:
        middle = (low + high) // 2
        none = np.zeros(0)
        p_value = binomial_tail(0, middle, level) if whole else mean_p_value(none, middle, level)
        low, high = (low, middle) if p_value <= error else (middle, high)
    return high


def mean_p_value(losses: Array, n: int, level: float) -> float:
    """A p-value of the hypothesis that the mean loss is above `level`, whatever the order.

    Args:
        losses: those that are not known to be 0, each in [0, 1]; [at most n].
        n: of how many; the losses of the rest are 0.
        level: in (0, 1).

    Raises:
        ValueError: for numbers outside of these.
    """
    return float(running_p_values(losses, n, level)[-1])


def running_p_values(losses: Array, n: int, level: float) -> Array:
    """`mean_p_value` of the first 0, 1, 2, ... of the losses, as if the others were 0.

    They never fall: float64 [losses + 1]. Arguments and errors are those of `mean_p_value`.
    """
    checked = check_losses(losses)
    check_share("level", level)
    if checked.size > n:
        raise ValueError(f"{checked.size} losses of {n} calls")
    capital = np.full(checked.size + 1, -math.inf)
    for stake in np.minimum(1.0, _STAKES / math.sqrt(max(n, 1) * level)):
        won = np.log1p(stake * level)
        lost = np.log1p(stake * (level - checked)) - won
        capital = np.logaddexp(capital, n * won + np.concatenate(([0.0], np.cumsum(lost))))
    p_values: Array = np.exp(np.minimum(0.0, math.log(_STAKES.size) - capital))
    return p_values


def check_losses(losses: Array) -> Array:
    """The losses as float64 [n].

    Raises:
        ValueError: when they are not a row of numbers in [0, 1].
    """
    checked = np.asarray(losses, np.float64)
    if checked.ndim != 1:
        raise ValueError(f"losses come in a row; found the shape {checked.shape}")
    wrong = checked[~((checked >= 0.0) & (checked <= 1.0))]
    if wrong.size:
        raise ValueError(f"a loss is 0 to 1; found {wrong[0]}")
    return checked


def check_share(name: str, share: float) -> None:
    """Raise ValueError unless a number lies in (0, 1)."""
    if not 0.0 < share < 1.0:
        raise ValueError(f"{name} lies between 0 and 1; found {share}")


def check_count(n: int) -> None:
    """Raise ValueError for a negative number of calls."""
    if n < 0:
        raise ValueError(f"a number of calls is 0 or more; found {n}")
