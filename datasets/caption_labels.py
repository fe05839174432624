"""How well are captions taken apart? Scores of a splitter on captions that were labelled by hand.

    python -m datasets.caption_labels [--msrvtt test_videodatainfo.json] [--errors]

Labels: `datasets/labels/captions.csv`, sentences of our own with their words of motion and whether they are dynamic;
`datasets/labels/msrvtt.csv`, by sentence id and word places, without a word of the data set. Words of motion are
compared without the words that every sentence has (articles, prepositions of no direction).
"""

from __future__ import annotations

import argparse
import csv
import json
import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from datasets.motion_text import DYNAMIC, Split, split, tokens
from datasets.motion_words import AUXILIARIES, DETERMINERS

LABELS = Path(__file__).parent / "labels"
IGNORED = DETERMINERS | AUXILIARIES | {"to", "of", "and", "in", "on", "at", "over", "with"}
Z = 1.959964  # of a normal, two-sided 95 %


@dataclass(frozen=True)
class Labelled:
    """A caption with its words of motion and whether it is dynamic."""

    caption: str
    motion: tuple[str, ...]
    dynamic: bool
    part: str


@dataclass(frozen=True)
class Share:
    """`right` of `of`, with Wilson's 95 % interval."""

    right: int
    of: int

    @property
    def value(self) -> float:
        """The share; nan of nothing."""
        return self.right / self.of if self.of else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson (1927)."""
        if not self.of:
            return 0.0, 1.0
        p, n = self.value, self.of
        middle, half = p + Z**2 / (2 * n), Z * math.sqrt(p * (1 - p) / n + Z**2 / (4 * n**2))
        return (middle - half) / (1 + Z**2 / n), (middle + half) / (1 + Z**2 / n)

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.3f} [{low:.3f}, {high:.3f}] ({self.right} of {self.of})"


def own_labels(path: Path = LABELS / "captions.csv") -> list[Labelled]:
    """The captions of the repository; `part` is "tune" or "held"."""
    with path.open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file))
    return [Labelled(r["caption"], tuple(r["motion"].split()), r["dynamic"] == "1", r["half"]) for r in rows]


def msrvtt_labels(annotations: Path, path: Path = LABELS / "msrvtt.csv") -> list[Labelled]:
    """The labelled sentences of `test_videodatainfo.json`. Raises ValueError for one that is not there."""
    sentences = {int(s["sen_id"]): s["caption"] for s in json.loads(annotations.read_text("utf-8"))["sentences"]}
    found = []
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            if int(row["sentence"]) not in sentences:
                raise ValueError(f"{annotations}: no sentence {row['sentence']}")
            caption = sentences[int(row["sentence"])]
            motion = tuple(caption.split()[int(place)] for place in row["motion"].split())
            found.append(Labelled(caption, motion, row["dynamic"] == "1", "msrvtt"))
    return found


def measure(labelled: Iterable[Labelled], splitter: Callable[[str], Split] = split) -> dict[str, Share]:
    """Precision and recall of words of motion and of "dynamic", and accuracy of "dynamic"."""
    hit = said = wanted = 0
    right = called = called_right = dynamic = total = 0
    for one in labelled:
        found = splitter(one.caption)
        mine, theirs = _bag(found.words), _bag(word for w in one.motion for word in tokens(w))
        hit, said, wanted = hit + len(mine & theirs), said + len(mine), wanted + len(theirs)
        call = found.dynamic >= DYNAMIC
        total, right, dynamic = total + 1, right + (call == one.dynamic), dynamic + one.dynamic
        called, called_right = called + call, called_right + (call and one.dynamic)
    return {
        "words, precision": Share(hit, said),
        "words, recall": Share(hit, wanted),
        "dynamic, precision": Share(called_right, called),
        "dynamic, recall": Share(called_right, dynamic),
        "dynamic, accuracy": Share(right, total),
    }


def _bag(found: Iterable[str]) -> set[tuple[str, int]]:
    """Words with their number of appearance, so that a word that comes twice counts twice."""
    seen: dict[str, int] = {}
    bag = set()
    for word in found:
        if word not in IGNORED:
            seen[word] = seen.get(word, 0) + 1
            bag.add((word, seen[word]))
    return bag


def main() -> None:
    """Prints a table of each part."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--msrvtt", type=Path, help="test_videodatainfo.json of MSR-VTT")
    parser.add_argument("--errors", action="store_true", help="also every caption of the half that may be tuned on")
    given = parser.parse_args()
    labelled = own_labels() + (msrvtt_labels(given.msrvtt) if given.msrvtt else [])
    for part in dict.fromkeys(one.part for one in labelled):
        some = [one for one in labelled if one.part == part]
        print(f"{part}: {len(some)} captions, {sum(one.dynamic for one in some)} dynamic")
        for name, share in measure(some).items():
            print(f"  {name:<20}{share}")
    for one in labelled if given.errors else ():
        found = split(one.caption)
        wrong = (found.dynamic >= DYNAMIC) != one.dynamic or _bag(found.words) != _bag(
            word for w in one.motion for word in tokens(w)
        )
        if one.part == "tune" and wrong:
            print(f"{found.dynamic:.2f} {one.dynamic:d} {one.caption!r}\n     {found.words} for {one.motion}")


if __name__ == "__main__":
    main()
