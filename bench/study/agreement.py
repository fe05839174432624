"""How far do raters agree, chance aside? Krippendorff's alpha for names (nominal data).

    alpha = 1 - observed disagreement / disagreement expected by chance

1: all agree; 0: as often as by chance; below 0: less often. Source: Krippendorff (2011), "Computing Krippendorff's
Alpha-Reliability"; missing answers are allowed.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Hashable, Sequence


def alpha(units: Sequence[Sequence[Hashable]]) -> float | None:
    """From the answers that each unit (screen) got, one per rater; None where nothing can be said.

    That is with fewer than two answers to any unit, and when every answer is the same (no chance to disagree).
    """
    pairable = [unit for unit in units if len(unit) > 1]
    values: Counter[Hashable] = Counter(value for unit in pairable for value in unit)
    n = sum(values.values())
    expected = n * n - sum(count * count for count in values.values())
    if n < 2 or expected == 0:
        return None
    observed = 0.0
    for unit in pairable:
        same = sum(count * count for count in Counter(unit).values())
        observed += (len(unit) ** 2 - same) / (len(unit) - 1)
    return 1 - (n - 1) * observed / expected


def in_words(value: float | None, raters: int) -> str:
    """'Krippendorff’s α 0.41 (0: chance, 1: all agree)'."""
    if value is None:
        return "one rater: no agreement to measure" if raters < 2 else "all answers are the same: α is not defined"
    return f"Krippendorff’s α {value:.2f} (0: chance, 1: all agree)".replace("-", "−")
