"""Which words of a caption tell the scene, which tell the motion, and how dynamic is it? By rules, word by word.

A caption of a web video says mostly what is there; the picture says so too. What only words can tell is what will
happen. `split` marks the words of motion (verbs of visible motion, directions, manners, moves of the camera), makes a
short text of them with whoever moves ("man doing push-ups"), a text of all that is left, and a dynamic confidence in
[0, 1]: one minus the chance that none of the marks means motion. No network, no grammar beyond a few neighbours: what
it gets wrong is measured on labelled captions (docs/motion_text.md).
Source: DynamiCrafter, arXiv:2310.12190, section on motion control using text (dynamic confidence and dynamic wording
by a language model); the rules are ours.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache

from datasets import motion_words as words

DYNAMIC = 0.5  # a caption with this confidence or more is called dynamic
DIRECTED, MANNERED = 0.4, 0.4  # what a direction and a manner add to a verb that has them
LONGEST = 4000  # characters of a caption that are looked at
_TOKEN = re.compile(r"[^\W_]+(?:['’\-][^\W_]+)*|[.,;:!?()|/]")


@dataclass(frozen=True)
class Split:
    """A caption, taken apart.

    scene: the caption without its words of motion; motion: whoever moves, what happens and to what, "" for nothing;
    words: the words of motion, lower case, in order; places: their places among `tokens`; dynamic: in [0, 1]; by:
    "rules", or the name of the language model; note: why the rules stood in for it, "" otherwise.
    """

    caption: str
    scene: str
    motion: str
    words: tuple[str, ...]
    places: tuple[int, ...]
    dynamic: float
    by: str = "rules"
    note: str = ""


def tokens(caption: str) -> list[str]:
    """Words and punctuation of a caption, lower case; a hyphen or an apostrophe inside a word stays in it."""
    return _TOKEN.findall(caption[:LONGEST].lower())


@lru_cache(maxsize=4096)
def split(caption: str) -> Split:
    """A caption, taken apart by rules."""
    found = tokens(caption)
    sentence = _Sentence(found)
    marks = sentence.marks()
    places = tuple(sorted(marks))
    told = sentence.told(places)
    rest = [token for place, token in enumerate(found) if place not in marks and not sentence.joins(place, marks)]
    still = 1.0
    for place in places:
        still *= 1 - marks[place]
    said = tuple(found[place] for place in places)
    return Split(caption, _joined(_tidy(rest)), _joined(told), said, places, round(1 - still, 4))


def _joined(parts: Sequence[str]) -> str:
    return re.sub(r" ([.,;:!?)])", r"\1", " ".join(parts))


def _tidy(rest: Sequence[str]) -> list[str]:
    """Without auxiliaries and joints that hang in the air where a verb was taken out: at the end, before a comma."""
    kept: list[str] = []
    for token in (*rest, "."):
        while not token[0].isalnum() and kept and kept[-1] in words.LOOSE:
            kept.pop()
        if kept or token[0].isalnum():
            kept.append(token)
    return kept[:-1]


@lru_cache(maxsize=65536)
def _forms(word: str) -> tuple[tuple[str, str], ...]:
    """(lemma, form) of what a word may be: form "base", "s", "ing" or "ed"; lemmas of VERBS, or any for "ing"."""
    found = [(word, "base")] if word in words.VERBS else []
    if word in words.IRREGULAR:
        found.append((words.IRREGULAR[word], "ing" if word.endswith("ing") else "ed"))
    for ending, stems in (
        ("ies", (word[:-3] + "y", word[:-1])),
        ("es", (word[:-2], word[:-1])),
        ("s", (word[:-1],)),
        ("ied", (word[:-3] + "y",)),
        ("ed", _stems(word[:-2])),
        ("ing", _stems(word[:-3])),
    ):
        if word.endswith(ending) and len(word) > len(ending) + 1:
            form = "s" if ending.endswith("s") else "ed" if ending.endswith("ed") else "ing"
            known = [(stem, form) for stem in stems if stem in words.VERBS]
            if known or form == "ing":
                found += known or [(word[:-3], "ing")]
                break
    return tuple(found)


def _stems(cut: str) -> tuple[str, ...]:
    """`jump`, `danc`, `runn` -> what the verb may have been: the same, with an e, with one letter less."""
    doubled = (cut[:-1],) if len(cut) > 2 and cut[-1] == cut[-2] else ()
    return (*doubled, cut, cut + "e")


class _Sentence:
    """The tokens of one caption and what their neighbours make of them."""

    def __init__(self, found: Sequence[str]) -> None:
        self.tokens = found
        self.count = len(found)

    def at(self, place: int) -> str:
        """The token there, "." beyond either end."""
        return self.tokens[place] if 0 <= place < self.count else "."

    def marks(self) -> dict[int, float]:
        """Place of each word of motion -> the chance that it means motion."""
        found: dict[int, float] = {}
        verbs: list[int] = []
        for place, token in enumerate(self.tokens):
            pair = words.PHRASES.get((token, self.at(place + 1)))
            if pair is not None:
                wide = words.PARTLY.get((token, self.at(place + 1)), 2)
                found |= {place + k: pair if k == 0 else 0.0 for k in range(wide)}
                continue
            if place in found or not token[0].isalpha():
                continue
            weight = words.CAMERA.get(token, 0.0) or self._verb(place) or self._act(place)
            if weight:
                found[place] = weight
                verbs.append(place)
        for place in verbs:
            self._with(place, found)
        return found

    def joins(self, place: int, marks: Collection[int]) -> bool:
        """Whether a small word there belongs to words of motion: "is" before a verb, "to the" before "left"."""
        token = self.tokens[place]
        if token in words.AUXILIARIES:
            return place + 1 in marks
        ahead = place + 1 if token != "to" or self.at(place + 1) != "the" else place + 2
        return token in ("to", "the") and ahead in marks and (place - 1 in marks or self.at(place - 1) == "to")

    # ---- verbs ----

    def _verb(self, place: int) -> float:
        """The chance that the word there is a verb of motion; 0 for none."""
        token = self.tokens[place]
        for lemma, form in _forms(token):
            if not self._is_verb(place, token, lemma, form):
                continue
            weight = words.VERBS.get(lemma, words.UNKNOWN_GERUND)
            if not weight and lemma in words.RISING and self.at(place + 1) in ("up", "down"):
                return 0.7
            if not weight and self._of_camera(place, lemma):
                return 0.7
            return weight
        return 0.0

    def _of_camera(self, place: int, lemma: str) -> bool:
        return lemma in words.CAMERA_MOVES and (place == 0 or "camera" in self.tokens[max(0, place - 3) : place])

    def _is_verb(self, place: int, token: str, lemma: str, form: str) -> bool:
        if form == "ing":
            return self._is_gerund(place, token, lemma)
        if form == "ed":
            return self._is_past(place, token)
        doubtful = lemma in words.DOUBTFUL
        if form == "s":
            return not doubtful or self._follows_noun(place, token)
        if token in words.SAME_IN_PAST and self.at(place - 1) in words.PASSIVE:
            return True
        return self._is_base(place, doubtful)

    def _is_gerund(self, place: int, token: str, lemma: str) -> bool:
        known = lemma in words.VERBS
        if token in words.THINGS or (self.at(place + 1) in words.HEADS and not self._by_someone(place)):
            return False
        if self.at(place - 1) in words.DETERMINERS and not known:
            return False
        return known or len(token) > 5

    def _by_someone(self, place: int) -> bool:
        """Behind an auxiliary or a noun, as in "friends clinking glasses" beside "running shoes"."""
        before = self._before(place)
        return (
            before in words.PASSIVE
            or before in words.PRONOUNS
            or (self._is_noun(before) and before not in words.ADJECTIVES and before not in words.MANNERS)
        )

    def _is_past(self, place: int, token: str) -> bool:
        before, after = self._before(place), self.at(place + 1)
        if before in words.PASSIVE:
            return token not in words.STATES or after in ("by", "into", "off", "away", "out")
        named = before in words.PRONOUNS or self._is_noun(before)
        if before in words.DETERMINERS or not named or token in words.STATES:
            return False
        return after in words.DETERMINERS or after in words.DIRECTIONS or before in words.PRONOUNS

    def _is_base(self, place: int, doubtful: bool) -> bool:
        """As in "how to fold", "people walk", "camera pan": not after an article or an adjective."""
        before = self._before(place)
        if before in words.BEFORE_BASE:
            return self._free_to(place)
        if place == 0 and self.tokens[0] in words.CAMERA_MOVES:
            return self.at(1) in words.DIRECTIONS
        many = before in words.PLURALS or (before.endswith("s") and not before.endswith("ss") and self._is_noun(before))
        after = self.at(place + 1)
        if before == "camera":
            return True
        if not many:
            return False
        return not doubtful or not self._is_noun(after) or after in words.DIRECTIONS

    def _free_to(self, place: int) -> bool:
        """ "to" before a verb, not before a place: "goes to work" and "walks to school" name places."""
        return (
            self.at(place - 1) != "to"
            or self.at(place - 2) not in ("going", "go", "goes", "went")
            or (self.at(place + 1) not in words.PREPOSITIONS and self.at(place + 1)[0].isalpha())
        )

    def _follows_noun(self, place: int, token: str) -> bool:
        """A doubtful word in -s is a verb behind somebody or something, unless it is plainly a thing's own name."""
        before, after = self._before(place), self.at(place + 1)
        if before in words.PRONOUNS or before == "camera":
            return True
        if before in ("and", "then", "but") and self._verb_before(place):
            return after in words.DETERMINERS or after in words.DIRECTIONS or after in words.PREPOSITIONS
        if before.endswith("ing") and before not in words.THINGS:
            return False
        if not self._is_noun(before) or before in words.WAVES or (before.endswith("s") and not before.endswith("ss")):
            return False
        if after == ".":  # nothing follows: "snow falls", not "evening walks"
            return token not in words.MOSTLY_THINGS and before not in words.ADJECTIVES
        if after in words.AUXILIARIES or after == "of" or not after[0].isalnum():
            return False
        return after in words.THINGS or not any(form == "ing" for _, form in _forms(after))

    def _verb_before(self, place: int) -> bool:
        """Whether a verb in -s stands before, in the same sentence: "throws the ball and scores"."""
        ahead = [k for k in range(max(1, place - 9), place - 1) if self.tokens[k].endswith("s")]
        return any(form == "s" for k in ahead if self._is_noun(self.at(k - 1)) for _, form in _forms(self.tokens[k]))

    def _act(self, place: int) -> float:
        """The chance that the word there is a noun that names what happens."""
        token, after = self.tokens[place], self.at(place + 1)
        single = token[:-1] if token.endswith("s") and token[:-1] in words.ACTS else token
        return 0.6 if single in words.ACTS and after not in words.INERT and after not in words.HEADS else 0.0

    # ---- neighbours ----

    def _before(self, place: int) -> str:
        """The word before, adverbs passed over."""
        place -= 1
        while place > 0 and (self.at(place).endswith("ly") or self.at(place) in ("then", "also", "just", "not")):
            place -= 1
        return self.at(place)

    def _is_noun(self, token: str) -> bool:
        """Not of the sentence's frame: no article, preposition, auxiliary, adverb, punctuation."""
        if not token[0].isalpha() or token in words.DETERMINERS or token in words.PREPOSITIONS:
            return False
        return (
            token not in words.AUXILIARIES
            and token not in ("and", "or", "but", "while", "very")
            and (not token.endswith("ly") or token in ("family", "butterfly", "fly", "jelly", "belly", "lily"))
        )

    def _with(self, place: int, found: dict[int, float]) -> None:
        """Marks the directions and manners that belong to the verb at `place`."""
        for step in (place - 1, *range(place + 1, place + 7)):
            token = self.at(step)
            if step > place and not token[0].isalnum():
                return
            if step > place + 1 and found.get(step, 0.0) > DYNAMIC:  # the next verb: what follows is its own
                return
            if token in words.MANNERS:
                found.setdefault(step, MANNERED)
            elif step > place and token in words.DIRECTIONS and self._directs(place, step):
                found.setdefault(step, DIRECTED if token not in ("together", "in") else 0.0)

    def _directs(self, verb: int, step: int) -> bool:
        """Whether a direction belongs to the verb: beside it or a word or two behind, "to the" passed over."""
        token, after = self.tokens[step], self.at(step + 1)
        between = [t for t in self.tokens[verb + 1 : step] if t not in ("to", "the", "and") and t not in words.MANNERS]
        between = [t for t in between if t not in words.DIRECTIONS]
        if token in words.AT_END and after[0].isalnum() and after not in words.NO_NOUNS:
            return False
        return not between or (len(between) <= 2 and token not in ("above", "across", "past", "round", "into", "in"))

    # ---- the text of motion ----

    def told(self, places: Sequence[int]) -> list[str]:
        """Whoever moves and what happens: the subject of each phrase of motion once, the phrase to its end."""
        kept: dict[int, None] = {}
        for start in places:
            if start in kept:
                continue
            subject = self._subject(start)
            if subject is not None and not kept:
                kept[subject] = None
            kept |= dict.fromkeys(self._phrase(start, places))
        return [self.tokens[place] for place in sorted(kept)]

    def _phrase(self, start: int, places: Sequence[int]) -> Iterator[int]:
        """The verb's place and those behind it, up to where something else begins."""
        yield start
        if self.tokens[start] in words.CAMERA or (self.tokens[start], self.at(start + 1)) in words.PHRASES:
            return
        for place in range(start + 1, self.count):
            token = self.tokens[place]
            if place not in places and (token in words.BREAKS or not token[0].isalnum()):
                return
            yield place

    def _subject(self, verb: int) -> int | None:
        """The place of the noun that the verb at `verb` is said of: the last before its own prepositions."""
        start = verb
        while start > 0 and self.at(start - 1)[0].isalnum() and self.at(start - 1) not in ("while", "then"):
            start -= 1
        clause = list(range(start, verb))
        while clause and self._before_subject(clause[-1]):
            clause.pop()
        ahead = [place for place in clause if self.tokens[place] in words.PREPOSITIONS]
        ahead = [p for p in ahead if p > start and not (self.at(p) == "of" and self.at(p - 1) in words.COLLECTIVE)]
        inside = [place for place in clause if not ahead or place < ahead[0]]
        nouns = [place for place in inside if self._is_noun(self.tokens[place])]
        return nouns[-1] if nouns else None

    def _before_subject(self, place: int) -> bool:
        token = self.tokens[place]
        return token in words.AUXILIARIES or token in ("who", "that", "which", "to", "and") or token.endswith("ly")
