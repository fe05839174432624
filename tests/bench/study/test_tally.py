"""Percentages worked out by hand, intervals that cover, agreement as published, and files that are refused by name."""

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from bench.cli import main
from bench.errors import BenchError, UsageError
from bench.study.agreement import alpha, in_words
from bench.study.answers import read_answers, read_key
from bench.study.shares import shares
from bench.study.tally import tally
from reports.load import load
from reports.userstudy import user_study
from tests.bench.study.conftest import answers, favourite, write


@pytest.fixture(scope="module")
def key(made):
    return read_key(made.key)


def three_raters(folder: Path, key) -> list[Path]:
    """Two love the first system, one the second."""
    lovers = {"rater000a": 0, "rater000b": 0, "rater000c": 1}
    return [write(folder, f"{name}.json", answers(key, name, favourite(s))) for name, s in lovers.items()]


def test_percentages_are_votes_over_answers(key, made, tmp_path):
    found = tally(three_raters(tmp_path, key), made.key)
    motion, coherence, conformity = found["questions"]
    assert [s["percent"] for s in motion["shares"]] == pytest.approx([200 / 3, 100 / 3, 0], abs=1e-5)
    assert sum(s["percent"] for s in coherence["shares"]) == pytest.approx(100, abs=1e-5)
    assert [s["percent"] for s in conformity["shares"]] == pytest.approx([200 / 3, 100 / 3, 0], abs=1e-5)
    assert (motion["shares"][0]["votes"], motion["shares"][0]["of"], conformity["shares"][2]["of"]) == (8, 12, 12)
    assert found["raters"] == 3 and found["set_aside"] == []
    assert "3 raters, 4 inputs, 20 answers each" in found["words"][0]


def test_judging_each_on_its_own_need_not_sum_to_100(key, made, tmp_path):
    def kind(key, screen):
        return favourite(0)(key, screen) if screen.right is not None or len(screen.options) > 1 else "yes"

    found = tally([write(tmp_path, "a.json", answers(key, "rater000a", kind))], made.key)
    assert [s["percent"] for s in found["questions"][2]["shares"]] == [100, 100, 100]
    only = found["questions"][0]["shares"][0]
    assert (only["low"], only["high"]) == (None, None)
    assert found["questions"][0]["agreement"] == "one rater: no agreement to measure"


def test_who_fails_an_attention_check_is_set_aside_and_counted(key, made, tmp_path):
    def careless(key, screen):
        wrong = {"yes": "no", "no": "yes"}.get(screen.right or "")
        if screen.right is None:
            return favourite(2)(key, screen)
        return wrong or next(o.token for o in screen.options if o.token != screen.right)

    files = [*three_raters(tmp_path, key), write(tmp_path, "bad.json", answers(key, "rater000d", careless))]
    found = tally(files, made.key)
    assert found["set_aside"] == [{"file": "bad.json", "failed": 4}] and found["raters"] == 3
    assert found["questions"][0]["shares"][2]["votes"] == 0
    assert "Set aside for failing an attention check: 1 of 4: bad.json (4 of 4 failed)." in found["words"]
    with pytest.raises(BenchError, match="none of 1 raters passed the attention checks"):
        tally(files[-1:], made.key)


def test_the_tally_does_not_depend_on_the_order_of_files(key, made, tmp_path):
    files = three_raters(tmp_path, key)
    assert json.dumps(tally(files, made.key)) == json.dumps(tally(files[::-1], made.key))
    assert json.dumps(tally([tmp_path], made.key)) == json.dumps(tally(files, made.key))


def spoiled(key, name: str):
    """Files of answers with one thing wrong each."""
    good = answers(key, "rater000z", favourite(0))
    first = good["answers"][0]
    return {
        "foreign": {**good, "study": "0" * 64},
        "old": {**good, "version": 0},
        "unfinished": {**good, "answers": good["answers"][:-2]},
        "strange screen": {**good, "answers": [{**first, "screen": "nowhere"}, *good["answers"][1:]]},
        "strange answer": {**good, "answers": [{**first, "chosen": "=cmd()"}, *good["answers"][1:]]},
        "twice": {**good, "answers": [first, *good["answers"]]},
        "no rater": {**good, "rater": "../x"},
        "keys": {**good, "answers": [{**first, "extra": 1}, *good["answers"][1:]]},
        "position": {**good, "answers": [{**first, "position": 9}, *good["answers"][1:]]},
        "seconds": {**good, "answers": [{**first, "seconds": "1"}, *good["answers"][1:]]},
        "list": [good],
    }[name]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("foreign", "answers to another study (000000000000, the key is of"),
        ("old", "version 0; wanted 'i2v-bench study answers' version 1"),
        ("unfinished", "2 of 24 screens are not answered"),
        ("strange screen", "there is no screen 'nowhere' in this study"),
        ("strange answer", "chosen is '=cmd()'; allowed: "),
        ("twice", "is answered twice"),
        ("no rater", "rater is '../x'; allowed: 8 to 64 letters and digits"),
        ("keys", "wanted screen, chosen, position and seconds"),
        ("position", "position is 9; allowed: 0 to"),
        ("seconds", "seconds is '1'; allowed: a number from 0"),
        ("list", "a JSON list, no file of answers"),
    ],
)
def test_a_file_that_is_no_answer_is_refused_by_name(key, tmp_path, name, said):
    path = write(tmp_path, "odd file.json", spoiled(key, name))
    with pytest.raises(UsageError) as error:
        read_answers([path], key)
    assert "odd file.json" in str(error.value) and said in str(error.value)


def test_every_bad_file_is_named_at_once_and_nothing_is_counted(key, made, tmp_path, capsys):
    good = three_raters(tmp_path, key)
    (tmp_path / "torn.json").write_text('{"format": ')
    write(tmp_path, "copy.json", answers(key, "rater000a", favourite(0)))
    same = json.loads(good[2].read_text())
    write(tmp_path, "renamed.json", same | {"rater": "rater000x"})
    assert main(["study", "tally", str(tmp_path), "--key", str(made.key)]) == 2
    said = capsys.readouterr().err
    assert "torn.json: not JSON" in said and "the same rater as copy.json" in said
    assert (
        "renamed.json: the same answers as rater000c.json, second for second" in said and "Nothing was tallied" in said
    )


def test_a_key_that_is_none_is_refused(made, tmp_path):
    with pytest.raises(UsageError, match="there is no such key"):
        read_key(tmp_path / "key.json")
    with pytest.raises(UsageError, match="wanted 'i2v-bench study key' version 1"):
        read_key(write(tmp_path, "a.json", {"format": "x"}))
    data = json.loads(made.key.read_text("utf-8"))
    with pytest.raises(UsageError, match="the key is damaged"):
        read_key(write(tmp_path, "b.json", {**data, "systems": [{"run": 1}]}))
    with pytest.raises(UsageError, match="the key holds something that this version does not know"):
        read_key(write(tmp_path, "c.json", {**data, "extra": 1}))
    changed = json.loads(made.key.read_text("utf-8"))
    changed["systems"][0]["label"] = "another"
    assert read_key(write(tmp_path, "d.json", changed)).study != read_key(made.key).study


def test_the_report_takes_the_tally_in(key, made, tmp_path, capsys):
    from tests.fixtures.run_folder import FakeRun, write_run

    run = write_run(tmp_path / "run", FakeRun(variants=("full", "no_ctx", "no_vdg"), samples=0, curves=False))
    files = [str(path) for path in three_raters(tmp_path, key)]
    assert main(["study", "tally", *files, "--key", str(made.key), "--out", str(run)]) == 0
    said = capsys.readouterr().out
    assert "Motion quality (In which video does the motion look best?)" in said and "  DynamiCrafter   66.7 %" in said
    study = user_study(load(run))
    assert study is not None and study.systems == ("DynamiCrafter", "w/o ctx", "w/o VDG")
    page = (run / "report.html").read_text(encoding="utf-8")
    assert "66.7" in page and "3 raters, 4 inputs" in page and "Krippendorff’s α" in page
    assert main(["study", "tally", *files, "--key", str(made.key), "--out", str(tmp_path)]) == 2


# Agreement


def test_alpha_is_that_of_the_published_example():
    """Four observers, twelve units, missing values: 0.743 in Krippendorff (2011), section C."""
    data = [
        [1, 1, None, 1], [2, 2, 3, 2], [3, 3, 3, 3], [3, 3, 3, 3], [2, 2, 2, 2], [1, 2, 3, 4],
        [4, 4, 4, 4], [1, 1, 2, 1], [2, 2, 2, 2], [None, 5, 5, 5], [None, None, 1, 1], [None, None, 3, None],
    ]  # fmt: skip
    assert alpha([[v for v in unit if v is not None] for unit in data]) == pytest.approx(0.743, abs=5e-4)


def test_alpha_of_two_observers_is_that_of_the_published_example():
    """Two observers, ten units, binary: 0.095 in Krippendorff (2011), section A."""
    meg, owen = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    assert alpha(list(zip(meg, owen, strict=True))) == pytest.approx(0.095, abs=5e-4)


def test_alpha_at_its_ends():
    assert alpha([["a", "a"], ["b", "b"]]) == 1 and alpha([["a", "b"], ["b", "a"]]) == pytest.approx(-0.5)
    assert alpha([["a"], ["b"]]) is None and alpha([["a", "a"], ["a", "a"]]) is None
    rng = np.random.default_rng(0)
    assert abs(alpha(rng.integers(0, 5, (400, 6)).tolist())) < 0.03
    assert in_words(None, 3) == "all answers are the same: α is not defined" and "0.41" in in_words(0.412, 3)


# Intervals


def test_without_clusters_the_interval_is_wilsons():
    """p = 0.3 of n = 100 answers of 50 raters who do not differ more than chance: z replaced by t of 49."""
    rng = np.random.default_rng(3)
    votes = np.stack([rng.binomial(2, 0.3, 50), np.zeros(50, int)], axis=1)
    votes[:, 1] = 2 - votes[:, 0]
    share = shares(votes, np.full((50, 2), 2))[0]
    p, t, n = share.value, 2.0096, 100
    middle = (p + t * t / (2 * n)) / (1 + t * t / n)
    half = t / (1 + t * t / n) * np.sqrt(p * (1 - p) / n + t * t / (4 * n * n))
    assert share.low >= middle - 1.25 * half and share.high - share.low >= 2 * half * 0.999


def test_raters_who_all_say_the_same_are_no_more_than_their_answers():
    votes = np.array([[4, 0]] * 6)
    share, other = shares(votes, np.full((6, 2), 4))
    assert (share.value, share.high, other.value, other.low) == (1.0, 1.0, 0.0, 0.0)
    assert share.low == pytest.approx(1 - other.high) and 0.5 < share.low < 0.9


def test_raters_who_differ_widen_the_interval():
    agreed = shares(np.array([[2, 2]] * 6), np.full((6, 2), 4))[0]
    split = shares(np.array([[4, 0], [0, 4]] * 3), np.full((6, 2), 4))[0]
    assert split.value == agreed.value == 0.5 and split.high - split.low > 1.5 * (agreed.high - agreed.low)


def coverage(raters: int, screens: int, concentration: float, repetitions: int, rng: np.random.Generator) -> float:
    """How often the interval holds the true share: raters' tastes from a Dirichlet, votes from their taste."""
    truth = np.array([0.45, 0.25, 0.15, 0.1, 0.05])
    held = 0
    for _ in range(repetitions):
        tastes = rng.dirichlet(truth * concentration, size=raters)
        votes = np.stack([rng.multinomial(screens, taste) for taste in tastes])
        found = shares(votes, np.full(votes.shape, screens))
        held += sum(s.low <= p <= s.high for s, p in zip(found, truth, strict=True))
    return held / (repetitions * len(truth))


@pytest.mark.parametrize(
    ("raters", "screens", "concentration"), [(5, 6, 4.0), (12, 6, 4.0), (12, 6, 1e6), (30, 3, 2.0)]
)
def test_intervals_cover_the_truth(raters, screens, concentration):
    """5 x 400 intervals of 95 % each: coverage is known to about 1 %."""
    assert coverage(raters, screens, concentration, 400, np.random.default_rng(raters)) > 0.93


def test_ignoring_who_answered_would_not_cover():
    """The same worlds with every answer as a rater of its own: why answers are clustered."""
    rng, held = np.random.default_rng(1), 0
    for _ in range(300):
        taste = rng.dirichlet(np.array([0.6, 0.4]) * 2, size=6)
        votes = np.stack([rng.multinomial(8, t) for t in taste]).sum(axis=0)
        rows = np.repeat(np.eye(2, dtype=np.int64), votes, axis=0)
        share = shares(rows, np.ones_like(rows))[0]
        held += share.low <= 0.6 <= share.high
    assert held / 300 < 0.85


def test_a_share_of_a_damaged_tally_is_refused(tmp_path, key, made):
    from tests.fixtures.run_folder import FakeRun, write_run

    run = write_run(tmp_path / "run", FakeRun(variants=("full", "no_ctx"), samples=0, curves=False))
    found = tally(three_raters(tmp_path, key), made.key)
    (run / "study.json").write_text(json.dumps({**found, "schema": 0}))
    with pytest.raises(ValueError, match=r"study\.json: schema is 0; this version reads 1"):
        load(run)
    found["questions"][0]["shares"].pop()
    with pytest.raises(ValueError, match="Motion quality has 2 shares for 3 systems"):
        user_study(replace(load_clean(run, found)))


def load_clean(run: Path, found: dict):
    (run / "study.json").write_text(json.dumps(found))
    return load(run)
