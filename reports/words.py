"""How does the report say it? Names, numbers and verdicts in words, the same in HTML, Markdown and CSV.

Source: the labels of arXiv:2310.12190's tables; direction of each metric as its definition has it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

LOWER_IS_BETTER = {  # others: no direction known, never marked
    **{"fvd": True, "kvd": True, "pic": False, "alignment": False, "motion_as_asked": False},
    **{"end_conformity": False, "loop_closure": True},
}
DATASETS = {"ucf101": "UCF-101", "msrvtt": "MSR-VTT", "webvid": "WebVid", "folder": "Own folder"}
WORLDS = {"tiny": "the tiny world", "real": "real videos"}
VERDICTS = {"holds": "holds", "fails": "fails", "undecided": "undecided", "not tested": "not tested"}
SIGNS = {"holds": "✓", "fails": "✗", "undecided": "?", "not tested": "○"}  # never colour alone
STAGES = {
    "i": "Stage i: context projector, on images",
    "i'": "Stage i′: context projector, on the video model",
    "ii": "Stage ii: adaptation to video",
    "iii": "Stage iii: with visual detail guidance",
}
TINY_WORLD = (  # said wherever its numbers are
    "The tiny world is made of procedural clips of moving shapes, written as files in the layouts of UCF-101 and "
    "MSR-VTT, and measured by small networks trained on it. Its numbers are honest numbers of that world. They say "
    "which parts of the method matter there, and can be compared with each other, never with numbers from real "
    "videos."
)
FEWER = (
    "These questions were given fewer videos than others of this run, so that their many variants stay affordable; "
    "the baselines are of as many. Compare within this table alone."
)
BASELINES_TITLE = "Baselines, made from real clips without a model"
WAYS_TITLE = "Their way of injecting the picture alone, in our backbone, trained as ours"
INTERVALS_COVER = "What the intervals cover"
WHOLE_RUN = "Notes on the whole run, its data, seeds and intervals"
DAGGER = "† not comparable with other numbers of this protocol: the notes say why."
NOT_ALIVE = "This run holds no check of whether its models move and look at their input."
FINE = "No video was reported damaged, missing, set aside or not comparable."
ALIVE = (
    "A comparison means something only when the models move and look at their input. Targets were fixed before the run."
)
INTERVAL = (
    "Numbers in brackets: where the expected score at this number of videos lies, with the stated coverage. An "
    "interval over training seeds and videos is about the recipe, one over videos alone about this trained model."
)
SEED = (
    "Fixes every random draw of one training. Each variant is trained once per seed: how far its numbers lie apart "
    "says how much of a difference is luck."
)
PROTOCOL = (
    "Every choice between a model and a number: which videos and frames, sizes, networks, formulas. Its fields are "
    "under “To repeat it”; numbers of different protocols, feature networks or worlds never share a column."
)
CLAIMS = (
    "Each effect is the difference between neighbours in the sentence’s order, counted so that right of zero speaks "
    "for the sentence. Its interval covers training seeds and videos, paired between the variants; p is corrected "
    "(Holm) within a question. All effects of one metric share an axis, an arrow points beyond it; small dots are "
    "single seeds."
)
DETECTABLE = (
    "“Would have been seen if larger than”: the smallest true effect that these videos and seeds find four times out "
    "of five, after the correction. An undecided claim whose effect is far below it could not have been decided here."
)
SAMPLED_TITLE = "Turned after training"
ENDS_TITLE = "Loops, and clips between two pictures"
ENDS_TABLE = (
    "End conformity: one minus the distance of the last frame to the real clip’s last frame, which interpolation is "
    "shown. Closing: the distance of the last frame to the first. Step: the distance of neighbouring frames. A loop "
    "has no seam when it closes within a step. The still picture closes and conforms for nothing: compare with it."
)
ENDS_STRIPS = (
    "Every frame of a clip in order, first training seed, nothing picked by hand; behind the gap what it should end "
    "at: the real clip’s last frame, or for a loop its own first one."
)
OURS = "The sentence is ours, not the paper’s."
AGAIN = "The same claims under other protocols, on the same videos: verdict and effect"
OTHER_PROTOCOLS = "The same videos under other protocols"
SAMPLES = (
    "Each row is one input image and prompt under every variant, first training seed, nothing picked by hand. The x–t "
    "slice shows the middle line of every frame, time running downwards: slanted streaks are motion, vertical ones "
    "stillness."
)
COSTS = "A reused step counts with what it cost when it was made."
REPEAT = (
    "This command, given in the root of the repository after make setup, with the commit, weights and data named "
    "below, on the same kind of machine, makes the same records again; times and memory will differ."
)
CITE = (
    "Name the world, the protocol, the number of videos and the features with every number, and cite the paper and the "
    "metrics."
)
STUDY_KINDS = {"pick": "picked as the best: the row sums to 100", "judge": "each judged on its own"}
OVERVIEW = ("Run", "World", "Protocol", "Scored", "Seeds", "Verdicts")
NO_SEED = "no training seed: videos as they came"
NO_CLAIM = "No claim was judged in this run. Claims need at least three training seeds of each variant they name."
NO_RECORD = "The run holds no record."
NOT_ASKED = "The run does not say which questions it was asked."
NO_STUDY = (
    "No one has been asked about the videos of this run. A blind study: python -m bench study make RUN --out DIR, then "
    "study tally."
)
NOT_SHOWN = ", not in the picture"
NO_SAMPLES = "The run left no sample videos."
NO_CURVES = "The run left no training curves."
NO_COSTS = "The run left no costs."
NO_ENVIRONMENT = "The run did not leave its environment."
NO_PROTOCOL = "The run did not leave its protocols in words."
MINUS, DASH = "\N{MINUS SIGN}", "\N{EN DASH}"


def dataset_name(dataset: str) -> str:
    """'ucf101' -> 'UCF-101'; unknown names stand as they are."""
    return DATASETS.get(dataset, dataset)


def metric_name(metric: str) -> str:
    """'fvd' -> 'FVD', 'loop_closure' -> 'Loop closure'."""
    return metric.upper() if len(metric) <= 4 else metric.capitalize().replace("_", " ")


def arrow(metric: str) -> str:
    """Which way is better: '↓', '↑', or nothing for a metric without a direction."""
    lower = LOWER_IS_BETTER.get(metric)
    return "" if lower is None else ("↓" if lower else "↑")


def places(values: Iterable[float], half_widths: Iterable[float]) -> int:
    """Decimals for a column: two significant digits of the median half width, else four of the values."""
    widths = sorted(width for width in half_widths if width > 0)
    if widths:
        return min(6, max(0, 1 - math.floor(math.log10(widths[len(widths) // 2]))))
    largest = max((abs(value) for value in values), default=0.0)
    return 3 if largest == 0 else min(6, max(0, 3 - math.floor(math.log10(largest))))


def decimal(value: float | None, digits: int) -> str:
    """Fixed decimals with a true minus; an en dash for null; no negative zero."""
    if value is None:
        return DASH
    plain = f"{value:.{digits}f}"
    if float(plain) == 0:
        plain = plain.lstrip("-")
    return plain.replace("-", MINUS)


def signed(value: float | None, digits: int) -> str:
    """As `decimal`, with a plus where it is positive."""
    plain = decimal(value, digits)
    return f"+{plain}" if value is not None and value > 0 and float(f"{value:.{digits}f}") > 0 else plain


def bracket(low: float | None, high: float | None, digits: int) -> str:
    """'[1.0, 2.0]', or nothing."""
    return "" if low is None or high is None else f"[{decimal(low, digits)}, {decimal(high, digits)}]"


def p_value(p: float | None) -> str:
    """'0.012', '< 0.001', or an en dash."""
    return DASH if p is None else ("< 0.001" if p < 0.001 else f"{p:.3f}")


def percent(level: float | None) -> str:
    """0.95 -> '95 %'."""
    return DASH if level is None else f"{level * 100:g} %"


def seconds(value: float | None) -> str:
    """'0.4 s', '12 s', '3 min 05 s', '2 h 10 min'."""
    if value is None:
        return DASH
    if value < 10:
        return f"{value:.1f} s"
    whole = round(value)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def megabytes(value: float | None) -> str:
    """'950 MB', '1.4 GB'."""
    return DASH if value is None else (f"{value:.0f} MB" if value < 1000 else f"{value / 1000:.1f} GB")


def count(number: int, one: str, many: str | None = None) -> str:
    """'1 video', '3 videos'."""
    return f"{number} {one if number == 1 else many or one + 's'}"


def listed(names: Sequence[str]) -> str:
    """'a', 'a and b', 'a, b and c'."""
    return names[0] if len(names) == 1 else f"{', '.join(names[:-1])} and {names[-1]}" if names else ""


def tally(verdicts: Sequence[str]) -> str:
    """'2 hold, 0 fail, 6 undecided'; 'none judged' without any."""
    if not verdicts:
        return "none judged"
    hold, fail, open_, apart = (sum(one == word for one in verdicts) for word in VERDICTS)
    return f"{hold} hold, {fail} fail, {open_} undecided" + (f", {apart} not tested" if apart else "")


def untested(number: int) -> str:
    """Head of the list of claims that a run leaves out."""
    return f"{count(number, 'claim')} of the paper’s ablation table not tested here"


def spread(values: Iterable[int]) -> str:
    """'192' when all agree, '96 to 192' when they do not, 'no' without any."""
    kept = sorted(set(values))
    return "no" if not kept else str(kept[0]) if len(kept) == 1 else f"{kept[0]} to {kept[-1]}"


def item_words(item: object) -> str:
    """A health entry as a sentence: text as it is, an object as 'id (path): reason'."""
    if not isinstance(item, dict):
        return str(item)
    name = " ".join(str(item[key]) for key in ("dataset", "question", "variant", "id") if item.get(key))
    path = f" ({item['path']})" if item.get("path") else ""
    reason = item.get("reason") or item.get("words") or ""
    return f"{name}{path}: {reason}" if reason else f"{name}{path}" or str(item)
