"""What a new reader needs: names in words, the paper's numbers as printed, how sure a verdict is, how to repeat it."""

import json
from dataclasses import replace

import pytest

from bench.metrics.judge import LEAST_SEEDS
from bench.variants import ALLOWED, KEYS, SWITCHES, Range, Settings
from reports import glossary, repeat, story, verdicts, words
from reports.load import load
from reports.paper import paper, published_csv
from reports.record import to_line
from reports.render import render

PUBLISHED = """
VideoComposer 576.81 65.56 0.5269 377.29 26.34 0.4460
I2VGen-XL 571.11 58.59 0.5313 289.10 14.70 0.5352
DynamiCrafter 429.23 62.47 0.6078 234.66 13.74 0.5803
"""
ABLATION = """
DynamiCrafter 234.66 0.5803
w/o ctx 372.80 0.4916
w/o VDG 159.24 0.6945
w/o λ 241.38 0.5708
Ours_G 286.84 0.5717
Ft. ent. 364.11 0.5564
1st frame 309.23 0.5673
"""
STUDY = """
Motion quality 28.60 22.91 2.09 7.56 38.84
Temporal coherence 32.09 26.05 2.21 6.51 33.14
Input conformity 79.07 64.77 18.14 15.00 79.88
"""


def rows(text: str, count: int) -> list[tuple[str, ...]]:
    """(label, numbers as printed ...) of each line; labels may hold spaces."""
    return [tuple(line.rsplit(" ", count)) for line in text.strip().split("\n")]


def test_the_comparison_is_the_papers_digit_by_digit():
    keys = [(d, m) for d in ("ucf101", "msrvtt") for m in ("fvd", "kvd", "pic")]
    assert [(row.label, *(row.values[key] for key in keys)) for row in paper().comparison.rows] == rows(PUBLISHED, 6)


def test_the_ablation_is_the_papers_digit_by_digit():
    keys = [("msrvtt", "fvd"), ("msrvtt", "pic")]
    assert [(row.label, *(row.values[key] for key in keys)) for row in paper().ablation.rows] == rows(ABLATION, 2)


def test_the_user_study_is_the_papers_digit_by_digit_and_picks_sum_to_100():
    study = paper().user_study
    assert [(row["label"], *row["values"]) for row in study["rows"]] == rows(STUDY, 5)
    assert study["systems"] == ["PikaLabs", "Gen-2", "VideoComposer", "I2VGen-XL", "DynamiCrafter"]
    sums = [sum(map(float, row["values"])) for row in study["rows"]]
    assert sums[:2] == pytest.approx([100, 100], abs=0.011) and sums[2] > 200


def test_published_numbers_can_be_taken_away(rich):
    lines = published_csv().strip().split("\r\n")
    assert len(lines) == 1 + 3 * 6 + 7 * 2 + 3 * 5
    assert lines[1].endswith('VideoComposer,ucf101,fvd,576.81,"arXiv:2310.12190, quantitative comparison table"')


def test_every_switch_of_a_spec_has_words():
    defaults = Settings()
    spoken = {"model.prediction", "model.zero_terminal_snr"}  # diffusion: said as key and value
    for key, values in ALLOWED.items():
        for value in values:
            if key in spoken or value == getattr(defaults, KEYS[key]):
                continue
            assert (key, value) in glossary.SWITCHES, (key, value)
    ranges = {key for key, switch in SWITCHES.items() if isinstance(switch.allowed, Range)}
    assert {*ranges, "system"} == glossary.SAMPLED.keys()
    said = glossary.differs({"sampling.text_scale": 2.0, "sampling.lambda_middle": 0.5})
    assert said == "text guided by 2.0; λ times 0.5 in the intermediate layers, after training"
    assert glossary.differs({"model.prediction": "eps"}) == "model.prediction is eps"
    assert glossary.differs({}) == glossary.FULL_MODEL


def test_everything_in_a_table_is_told_in_words(run):
    told = {row.label: row for row in glossary.compared(run)}
    assert set(told) == {r.label for r in run.records}
    assert told["w/o ctx"].keys == "model.context: none" and "no context stream" in told["w/o ctx"].words
    assert told["DynamiCrafter"].where == "dual_stream, training_paradigm, stages"
    assert told["Static repeat of the input"].where == "baseline"
    assert [name for name, _ in glossary.metrics(run)] == ["FVD", "KVD", "PIC"]
    outside = replace(run, records=[replace(run.records[0], question="score", variant="theirs", label="theirs")])
    assert glossary.compared(outside)[0].words == glossary.OUTSIDE
    assert {row.words for row in glossary.compared(replace(run, spec={})) if row.where != "baseline"} == {
        glossary.UNSAID
    }


def test_scores_of_other_systems_are_not_called_variants(run, tmp_path):
    spec = {"questions": {"score": {"question": "What do these videos score?", "variants": {"theirs": {"label": "T"}}}}}
    record = replace(run.records[0], question="score", variant="theirs", label="theirs", seed=None)
    (tmp_path / "records.jsonl").write_text(to_line(record) + "\n", encoding="utf-8")
    (tmp_path / "spec.json").write_text(json.dumps(spec))
    for path in render(tmp_path).html, render(tmp_path).markdown:
        said = path.read_text(encoding="utf-8")
        assert "Scores of theirs in the tiny world" in said and glossary.OUTSIDE in said
        assert "piece by piece" not in said and "two streams" not in said and words.NO_SEED in said


def test_verdicts_of_other_protocols_stand_apart_and_are_not_counted(rich, run):
    both = load(rich)
    assert len(both.claims) == len(run.claims) + 2 and len(both.own_claims) == len(run.claims)
    assert story.outcome(both, [])[0] == story.outcome(run, [])[0]
    protocols, lines = verdicts.again(both)
    assert protocols == ["tiny/v1", "cd-fvd/v1"] and len(lines) == len(run.claims)
    assert lines[0][:3] == (
        "Without the context stream videos get worse",
        "FVD: DynamiCrafter better than w/o ctx",
        "UCF-101",
    )
    assert lines[0][3] == "? undecided +24" and lines[2][4] == words.DASH and verdicts.again(run) == ([], [])
    assert words.AGAIN in (rich / "report.html").read_text(encoding="utf-8")


def test_the_setting_is_said_from_the_spec(run):
    assert glossary.setting(run) == (
        "Clips of 8 frames on UCF-101 and MSR-VTT, measured with tiny-i3d and tiny-perceptual under protocol tiny/v1. "
        "Profile: tiny."
    )
    assert glossary.setting(replace(run, records=[])) == ""


def test_an_undecided_claim_says_what_would_have_been_seen(run):
    first = next(c for c in run.claims if c.verdict == "undecided")
    judged = verdicts.claims_by_question(replace(run, claims=[replace(first, detectable=88.6)]))[0].sentences[0].judged
    assert judged[0].rest.endswith("would have been seen if larger than 89")
    assert judged[0].rest.startswith("p = 0.620, N = 192, 3 seeds: +")


def test_an_interval_that_excludes_zero_without_a_verdict_is_explained(run):
    first = next(c for c in run.claims if c.verdict == "undecided")
    apart = replace(first, low=1.0, high=40.0, effect=20.0)

    def notes(claim, *more) -> tuple[str, ...]:
        others = [*(c for c in run.claims if c is not first), *more]
        found = verdicts.claims_by_question(replace(run, claims=[claim, *others]))
        return next(j.notes for q in found for s in q.sentences for j in s.judged if j.claim is claim)

    assert notes(apart) == ("alone it would be decided, corrected for 10 verdicts of its question it is not",)
    gone = replace(first, claim="of a row without numbers", verdict="not tested", p=None, p_holm=None)
    assert notes(apart, gone) == notes(apart), "what was no test is not in Holm's count"
    assert notes(first) == () and notes(replace(apart, verdict="holds")) == ()
    assert notes(replace(apart, seeds=2)) == () and verdicts.LEAST_SEEDS == LEAST_SEEDS


def test_questions_are_tallied(run):
    tallies = {q.name: q.tally for q in verdicts.claims_by_question(run)}
    assert tallies["training_paradigm"] == "2 hold, 0 fail, 2 undecided" and words.tally([]) == "none judged"


def test_values_of_a_protocol_are_told_plainly():
    assert repeat.plain({"kind": "single", "text_scale": 7.5, "image_scale": None}) == (
        "kind: single, text_scale: 7.5, image_scale: none"
    )
    assert [repeat.plain(v) for v in ([256, 256], True, 1e-3, "x", 2048)] == ["256, 256", "yes", "0.001", "x", "2048"]


def test_weights_data_and_steps_are_named_with_whole_hashes(run):
    spec = {
        "weights": {"vae": {"file": "weights/tiny/vae.safetensors", "sha256": "d1" * 32}},
        "data": {"ucf101": {"root": "/data/UCF-101", "catalog": "c" * 64, "content": "e" * 64}},
    }
    assert repeat.inputs(replace(run, spec=spec)) == [
        ("weights vae", "weights/tiny/vae.safetensors", "d1" * 32),
        ("data ucf101", "/data/UCF-101", "e" * 64),
    ]
    assert repeat.steps_csv(run).split("\r\n")[2] == f'"train full, seed 1",train,{"0001" * 16},1 result'
    assert repeat.command(replace(run, environment={"command": ["python", "-m", "bench"]})) == "python -m bench"


def test_uncommitted_changes_are_not_passed_over(run):
    dirty = repeat.facts(replace(run, environment={"git_commit": "abc", "dirty": True}))
    assert dirty == [("Commit", "abc with uncommitted changes: the commit alone does not give this code")]


def test_the_paper_and_its_metrics_can_be_cited():
    bibtex = "\n".join(entry for _, entry in paper().citations)
    for key in ("xing2023dynamicrafter", "unterthiner2018towards", "binkowski2018demystifying", "fu2023dreamsim"):
        assert bibtex.count(f"{{{key},") == 1
    assert bibtex.count("{") == bibtex.count("}")


def test_the_top_says_what_was_asked_before_what_came_out(rich):
    page = (rich / "report.html").read_text(encoding="utf-8")
    order = (
        "<b>Asked</b>",
        "What does each image-injection stream contribute?",
        "In the tiny world, 8 claims",
        "<dt>World</dt>",
        "<dt>Seeds</dt>",
        "<dt>Damaged</dt><dd>1<",
        "<dt>Not comparable</dt>",
        "<dt>World’s checks</dt>",
        "<nav",
        "<table",
    )
    places = [page.index(text) for text in order]
    assert places == sorted(places)
