"""Tests on AUROCs that take flows for independent (DeLong), correction for many tests, tie groups, and what so few
datasets and seeds cannot show.

The headline intervals are in ``bootstrap``.  numpy and scipy only.
"""

from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from janus_bench.words import counted

DELONG_CAVEAT = "DeLong: flows assumed independent (flows of one capture are not, so p is too small)"

Floats = NDArray[np.float64]


@dataclass(frozen=True)
class PairedTest:
    """A difference with its standard error and two-sided p value; None where the flows allow none."""

    difference: float
    error: float | None
    p: float | None


def delong(scores: Floats, attack: NDArray[np.bool_]) -> tuple[Floats, Floats]:
    """AUROCs of d detectors on the same flows, and the covariance of these AUROCs (DeLong et al., Biometrics 1988),
    flows assumed independent.

    scores (d, n), attack (n,) → (d,), (d, d).  By midranks in O(d n log n) (Sun and Xu, IEEE SPL 2014).  ValueError
    with fewer than two flows in a class.
    """
    from scipy.stats import rankdata

    hits, benign = scores[:, attack], scores[:, ~attack]
    a, b = hits.shape[1], benign.shape[1]
    if a < 2 or b < 2:
        raise ValueError(f"DeLong's variance needs two attacks and two benign flows, not {a} and {b}")
    together = rankdata(np.concatenate([hits, benign], axis=1), axis=1)  # midranks
    # placements: the share of the other class that a flow beats, ties ½
    of_attacks = (together[:, :a] - rankdata(hits, axis=1)) / b  # (d, a)
    of_benign = 1 - (together[:, a:] - rankdata(benign, axis=1)) / a  # (d, b)
    covariance = np.atleast_2d(np.cov(of_attacks)) / a + np.atleast_2d(np.cov(of_benign)) / b
    return of_attacks.mean(axis=1), covariance


def delong_over_seeds(runs: Sequence[tuple[Floats, Floats, NDArray[np.bool_]]]) -> PairedTest:
    """AUROC of first minus that of second, mean over the seeds of a cell; a run is (first (n,), second (n,), attack
    (n,)).  See ``DELONG_CAVEAT``.

    p is 1 where both have the same placements throughout, None where the difference has no variance though it is not 0
    or a class has one flow.

    The seeds' test flows overlap (attacks are the same), so their errors are averaged as if perfectly correlated: the
    largest error that the mean can have.  More seeds thus never make p small.
    """
    from scipy.special import ndtr

    differences, errors = [], []
    for first, second, attack in runs:
        if min(np.count_nonzero(attack), np.count_nonzero(~attack)) < 2:
            return PairedTest(float("nan"), None, None)
        areas, covariance = delong(np.stack([first, second]), attack)
        differences.append(float(areas[0] - areas[1]))
        errors.append(max(0.0, float(covariance[0, 0] + covariance[1, 1] - 2 * covariance[0, 1])) ** 0.5)
    difference, error = float(np.mean(differences)), float(np.mean(errors))
    if error < 1e-12:  # rounding of a variance of 0
        return PairedTest(difference, error, 1.0 if abs(difference) < 1e-12 else None)
    return PairedTest(difference, error, float(2 * ndtr(-abs(difference) / error)))


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """p values corrected for the number of tests (Holm, Scand. J. Stat. 1979): reject where ≤ α, and a false rejection
    anywhere has probability ≤ α.

    None stays None and does not count as a test.
    """
    tested = sorted((p, place) for place, p in enumerate(p_values) if p is not None)
    corrected: list[float | None] = [None] * len(p_values)
    largest = 0.0
    for rank, (p, place) in enumerate(tested):
        largest = max(largest, min(1.0, p * (len(tested) - rank)))
        corrected[place] = largest
    return corrected


def tie_groups(names: Sequence[str], different: Collection[frozenset[str]]) -> dict[str, str]:
    """Compact letter display: two names share a letter exactly if they are not in ``different`` (insert and absorb;
    Piepho, JCGS 2004).

    names: best first, so that ``a`` is the group of the best.  A pair that could not be tested is not different: no
    evidence is a tie.
    """
    groups: list[frozenset[str]] = [frozenset(names)] if names else []
    for pair in different:
        split = [group - {name} for group in groups if pair <= group for name in pair]
        kept = [group for group in groups if not pair <= group]
        groups = kept + [group for group in dict.fromkeys(split) if not any(group <= other for other in kept)]
        groups = [group for group in groups if not any(group < other for other in groups)]
    place = {name: number for number, name in enumerate(names)}
    ordered = sorted(groups, key=lambda group: sorted(place[name] for name in group))
    # a … z, then a', b', …
    letters = [chr(ord("a") + number % 26) + "'" * (number // 26) for number in range(len(ordered))]
    return {
        name: "".join(letter for letter, group in zip(letters, ordered, strict=True) if name in group) for name in names
    }


def wilcoxon_floor(n_datasets: int) -> float:
    """The smallest two-sided p that a Wilcoxon signed-rank test on so many datasets can give: 2 / 2ⁿ; 1 for none."""
    return min(1.0, 2.0 / 2**n_datasets)


def nemenyi_critical_difference(n_detectors: int, n_datasets: int) -> float:
    """Difference of mean ranks that is significant at 5 % (Demšar, JMLR 2006, eq. 5): q √(k (k + 1) / (6 N))."""
    from scipy.stats import studentized_range

    q = float(studentized_range.ppf(0.95, n_detectors, np.inf)) / 2**0.5
    return q * (n_detectors * (n_detectors + 1) / (6 * n_datasets)) ** 0.5


def rank_test_warning(n_detectors: int, n_datasets: int) -> str | None:
    """Why rank tests over datasets are refused, or None if they can tell detectors apart.

    Refused where the Wilcoxon test cannot reach 5 % at all, or where the critical difference is more than half of the
    range of mean ranks.
    """
    if n_detectors < 2:
        return None
    floor, critical, widest = (
        wilcoxon_floor(n_datasets),
        nemenyi_critical_difference(n_detectors, n_datasets),
        n_detectors - 1,
    )
    said = []
    if floor > 0.05:
        said.append(f"a Wilcoxon test on {counted(n_datasets, 'dataset')} cannot go below p = {floor:.3g}")
    if critical > widest / 2:
        said.append(f"a Nemenyi critical difference would be {critical:.2f} of {widest} ranks")
    return f"no rank tests over datasets: {'; '.join(said)}" if said else None


def seed_multiplier(n_seeds: int) -> float | None:
    """Multiplies std / √n into the half width of a 95 % interval: Student's t with n − 1 degrees of freedom, 4.30 for
    three seeds; None for one."""
    from scipy.special import stdtrit

    return float(stdtrit(n_seeds - 1, 0.975)) if n_seeds > 1 else None
