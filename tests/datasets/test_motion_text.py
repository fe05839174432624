"""Captions taken apart: what the rules say of known sentences, of labelled ones, and of anything at all."""

import time

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from datasets import motion_words
from datasets.caption_labels import Labelled, Share, measure, msrvtt_labels, own_labels
from datasets.motion_text import DYNAMIC, LONGEST, split, tokens
from datasets.procedural import COLORS, MOTIONS, PLAIN_WORDS, SCENE_WORDS, SHAPES, asked_motion, class_words


@pytest.mark.parametrize(
    ("caption", "motion", "scene", "dynamic"),
    [
        ("a red circle moves to the left", "circle moves to the left", "a red circle", True),
        ("Athlete doing push-ups in the gym", "athlete doing push-ups", "athlete in the gym", True),
        ("Young woman walking on the beach at sunset", "woman walking", "young woman on the beach at sunset", True),
        ("Swimming pool in a luxury hotel", "", "swimming pool in a luxury hotel", False),
        ("a man is standing near a building", "", "a man is standing near a building", False),
        ("a man stands up", "man stands up", "a man", True),
        ("the camera pans to the right", "camera pans to the right", "the camera", True),
        ("a man and his dog", "", "a man and his dog", False),
        ("a man is running, and a dog.", "man running", "a man, and a dog.", True),
        ("waves in the sea", "", "waves in the sea", False),
        ("she waves at the camera", "she waves", "she at the camera", True),
        ("", "", "", False),
        ("?!", "", "", False),
    ],
)
def test_a_caption_is_taken_apart(caption: str, motion: str, scene: str, dynamic: bool) -> None:
    found = split(caption)
    assert (found.motion, found.scene, found.dynamic >= DYNAMIC) == (motion, scene, dynamic)


@pytest.mark.parametrize(
    ("verb", "noun"),
    [("the car drives away", "long drives"), ("he walks slowly", "evening walks"), ("how to fold paper", "a fold")],
)
def test_a_word_that_may_be_a_noun_is_a_verb_by_its_neighbours(verb: str, noun: str) -> None:
    assert split(verb).dynamic >= DYNAMIC > split(noun).dynamic


def test_more_words_of_motion_make_a_caption_more_dynamic() -> None:
    plain, directed, fast = (split(f"a dog runs{how}").dynamic for how in ("", " away", " away quickly"))
    assert split("a dog").dynamic == 0.0 < plain < directed < fast < 1.0
    assert fast == pytest.approx(1 - (1 - 0.85) * (1 - 0.4) * (1 - 0.4), abs=1e-4)  # independent chances


def test_every_sentence_of_the_procedural_world_is_told_by_its_shape_and_its_motion() -> None:
    for motion, ways in MOTIONS.items():
        for how in ways:
            for words in (*SCENE_WORDS, *PLAIN_WORDS):
                for shape in SHAPES:
                    caption = f"{words.format(shape=shape, color='red')} {how}"
                    found = split(caption)
                    assert found.dynamic >= DYNAMIC and asked_motion(found.motion) in (motion, None), caption
                    assert found.motion == f"{shape} {how.removeprefix('is ')}" and shape in found.scene, caption
                    assert asked_motion(caption) == motion and asked_motion(found.scene) is None


def test_a_sentence_asks_for_a_motion_only_in_the_words_of_the_world() -> None:
    assert asked_motion(class_words("CircleGrowing")) == "Growing"
    assert [asked_motion(text) for text in ("a man growing", "wheat grows", "", "a red circle")] == [None] * 4
    assert len(COLORS) == 6


@settings(max_examples=300, deadline=None, derandomize=True, database=None)
@given(
    st.one_of(
        st.text(max_size=200),
        st.lists(
            st.sampled_from(
                sorted(motion_words.VERBS) + sorted(motion_words.DIRECTIONS) + ["the", "is", "to", ",", "ing"]
            ),
            max_size=12,
        ).map(" ".join),
    )
)
@example("=cmd|' /C calc'!A0")
@example("\ud800 \x00 waving")
@example("-" * 50)
def test_whatever_a_caption_is_its_parts_are_its_own(caption: str) -> None:
    found, own = split(caption), tokens(caption)
    assert 0.0 <= found.dynamic < 1.0 and bool(found.words) == (found.dynamic > 0)
    assert [own[place] for place in found.places] == list(found.words)
    for text in (found.scene, found.motion):
        assert set(tokens(text)) <= set(own)
        assert not text or text[0].isalnum(), "a spreadsheet would take it for a formula"


def test_a_long_caption_takes_no_longer_than_its_first_characters() -> None:
    began = time.monotonic()
    assert split("a dog runs " * 100_000).dynamic > DYNAMIC and time.monotonic() - began < 1.0
    assert len(tokens("word " * LONGEST)) == LONGEST // 5


# ---- on labelled captions ----


def test_the_rules_hold_on_captions_that_were_labelled_before_they_were_written() -> None:
    labelled = own_labels()
    for part, least in {"tune": 0.95, "held": 0.88}.items():
        found = measure(one for one in labelled if one.part == part)
        assert found["dynamic, accuracy"].of >= 75 and found["dynamic, accuracy"].value >= least
        assert found["words, precision"].value >= 0.90 and found["words, recall"].value >= 0.95


def test_the_rules_hold_on_captions_of_msr_vtt(real_data) -> None:
    labelled = msrvtt_labels(real_data / "msrvtt" / "test_videodatainfo.json")
    found = measure(labelled)
    assert len(labelled) == 110 and found["dynamic, accuracy"].value >= 0.87
    assert found["words, precision"].value >= 0.75 and found["words, recall"].value >= 0.90


def test_labels_are_of_words_that_the_captions_have() -> None:
    for one in own_labels():
        rest = iter(word for token in tokens(one.caption) for word in (token, *token.split("-")))
        assert all(word in rest for word in one.motion), one
        assert one.dynamic == bool(one.motion)


def test_scores_are_counted_as_they_are_named() -> None:
    labelled = [
        Labelled("a dog runs away", ("runs",), True, ""),  # hit, and "away" is one too many
        Labelled("a spinning top", (), False, ""),  # called dynamic, and is not
        Labelled("a house", ("glows",), True, ""),  # missed
    ]
    found = measure(labelled)
    counts = {name: (share.right, share.of) for name, share in found.items()}
    assert counts == {
        "words, precision": (1, 3), "words, recall": (1, 2),
        "dynamic, precision": (1, 2), "dynamic, recall": (1, 2), "dynamic, accuracy": (1, 3),
    }  # fmt: skip


def test_the_interval_of_a_share_is_wilsons() -> None:
    low, high = Share(8, 10).interval  # p = 0.8, n = 10: (0.49016, 0.94332) in closed form
    assert (low, high) == pytest.approx((0.49016, 0.94332), abs=1e-5)
    assert Share(0, 5).interval[0] == pytest.approx(0.0, abs=1e-12) and Share(0, 5).interval[1] > 0.4
