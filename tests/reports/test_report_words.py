"""Numbers, sentences and axes: worked out by hand."""

import json
from dataclasses import replace

import pytest

from reports import story, verdicts, words
from reports.charts import Scale, bulk, round_ticks, running_mean, thin
from reports.curves import curve_figures, curves, lambda_figure
from reports.forest import forest
from reports.load import Run, load
from reports.tables import ablation_tables


@pytest.mark.parametrize(
    ("value", "digits", "said"),
    [(431.26, 1, "431.3"), (-0.004, 2, "0.00"), (-1.5, 1, "−1.5"), (None, 3, "–"), (0.58034, 4, "0.5803")],
)
def test_decimals(value, digits, said):
    assert words.decimal(value, digits) == said


def test_a_sign_where_there_is_a_difference():
    assert [words.signed(x, 1) for x in (2.0, -2.0, 0.01)] == ["+2.0", "−2.0", "0.0"]


@pytest.mark.parametrize(
    ("values", "widths", "digits"),
    [
        ([430.0], [25.0], 0),
        ([48.0], [3.4], 1),
        ([0.75], [0.006], 4),
        ([431.26], [], 1),
        ([0.5803], [], 4),
        ([], [], 3),
    ],
)
def test_a_column_shows_as_many_digits_as_its_intervals_carry(values, widths, digits):
    assert words.places(values, widths) == digits


def test_times_and_sizes():
    assert [words.seconds(x) for x in (0.44, 12, 185, 7800)] == ["0.4 s", "12 s", "3 min 05 s", "2 h 10 min"]
    assert [words.megabytes(x) for x in (950, 1440, None)] == ["950 MB", "1.4 GB", "–"]
    assert [words.p_value(p) for p in (0.0004, 0.0123, None)] == ["< 0.001", "0.012", "–"]
    assert words.listed(["a", "b", "c"]) == "a, b and c" and words.spread([96, 192, 96]) == "96 to 192"


def test_health_entries_of_any_shape_become_words():
    assert words.item_words("as it is") == "as it is"
    assert words.item_words({"id": "v1", "path": "a/v1.avi", "reason": "too short"}) == "v1 (a/v1.avi): too short"
    assert words.item_words({"dataset": "ucf101", "id": "v1"}) == "ucf101 v1"


def test_ticks_are_round_and_inside():
    assert round_ticks(0.0, 1.0) == pytest.approx([0, 0.2, 0.4, 0.6, 0.8, 1.0])
    assert round_ticks(402, 503) == pytest.approx([420, 440, 460, 480, 500])
    assert [label for _, label in Scale(-0.46, 0.46, 0, 100).ticks()] == ["−0.4", "−0.2", "0.0", "0.2", "0.4"]
    assert Scale(1, 1000, 0, 300, log=True)(10) == 100


def test_one_far_group_does_not_press_the_others_together():
    near = [[10.0, 9, 11], [11, 10, 12], [12, 11, 13], [13, 12, 14], [14, 13, 15]]
    assert bulk([*near, [1000.0, 990, 1010]]) == (9, 15)
    assert bulk(near) == (9, 15) and bulk([]) == (0, 0) and bulk([[1.0], [1000.0]]) == (1, 1000)


def test_curves_are_thinned_and_smoothed_without_moving_their_ends():
    assert running_mean([1, 2, 3, 4], 3) == [1.5, 2, 3, 3.5]
    points = [(float(i), 0.0) for i in range(1000)]
    kept = thin(points)
    assert len(kept) <= 161 and (kept[0], kept[-1]) == (points[0], points[-1])


def test_three_sentences_from_the_records(run):
    first, second, third = story.outcome(run, ablation_tables(run))
    assert first == (
        "In the tiny world, 8 claims of the paper came to 16 verdicts on its stand-ins for UCF-101 and MSR-VTT: 4 "
        "hold, 4 fail and 8 stay undecided, with 192 videos per variant and dataset and 3 training seeds."
    )
    assert "Training on the first frame only makes videos worse" in second and "(sic)" in second
    table = ablation_tables(run)[0]
    full, static = table.rows[0].cells[0], next(r for r in table.rows if r.variant == "static").cells[0]
    assert words.decimal(full.value, 0) in third
    assert f"static repeat of the input {words.decimal(static.value, 0)}" in third


def test_a_run_without_claims_or_models_says_so(run):
    assert story.outcome(replace(run, claims=[]), [])[0].startswith("No claim of the paper was judged")
    baselines = replace(run, records=[r for r in run.records if r.role == "baseline"])
    assert story.outcome(baselines, ablation_tables(baselines))[2] == (
        "The run holds baselines only, no number of a model."
    )


def test_claims_come_with_the_papers_numbers_and_the_untested_are_named(run):
    by_name = {q.name: q for q in verdicts.claims_by_question(run)}
    without = by_name["dual_stream"].sentences[0]
    assert (without.order, without.published) == (
        "DynamiCrafter better than w/o ctx",
        "234.66 against 372.80 on MSR-VTT",
    )
    assert [j.claim.dataset for j in without.judged] == ["ucf101", "msrvtt"]
    assert len(verdicts.untested(run)) == 5


def test_a_claim_about_three_says_which_step_its_effect_is_of(run):
    three = replace(run.claims[0], better=("no_vdg", "full", "no_ctx"), weakest=1, notes=("2 training seeds",))
    judged = verdicts.claims_by_question(replace(run, claims=[three]))[0].sentences[0]
    assert judged.order == "w/o VDG better than DynamiCrafter better than w/o ctx"
    assert judged.judged[0].notes == (
        "effect of the weakest step: DynamiCrafter better than w/o ctx",
        "2 training seeds",
    )


def test_an_effect_beyond_the_axis_is_an_arrow_and_others_lie_on_their_side(run):
    far = next(c for c in run.claims if c.better == ("no_vdg", "full") and c.metric == "fvd")
    near = next(c for c in run.claims if c.better == ("full", "first_frame"))
    kinds = [mark.kind for mark in forest(run.claims, far).marks]
    assert "arrow" in kinds and "dot" not in kinds
    plot = forest(run.claims, near)
    zero = next(mark.x for mark in plot.marks if mark.kind == "rule")
    assert all(mark.x > zero for mark in plot.marks if mark.kind == "dot")


def test_a_stage_that_variants_share_is_one_line(run):
    shared = [c for c in curves(run) if c.stage == "i" and "full" in c.variants]
    assert {c.variants for c in shared} == {("full", "no_vdg", "fine_tune_entire", "first_frame")}
    loss = curve_figures(run)[0]
    assert [p.title for p in loss.panels] == [words.STAGES[s] for s in ("i", "ii", "iii")]
    assert [sum(m.kind == "line" for m in p.marks) for p in loss.panels] == [6, 9, 9]


def test_lambda_shows_learned_ones_only(run):
    figure = lambda_figure(run)
    labels = [label for _, label in figure.legend]
    assert "w/o λ" not in labels and "w/o ctx" not in labels and "DynamiCrafter" in labels
    assert figure.csv.count("\r\n") == 1 + 7 * 3 * 9


def test_a_folder_without_records_and_broken_lines_are_named(tmp_path, run_folder):
    with pytest.raises(ValueError, match=r"no records\.jsonl there"):
        load(tmp_path)
    (tmp_path / "records.jsonl").write_text((run_folder / "records.jsonl").read_text() + '{"schema": 9}\n')
    count = len(load(run_folder).records)
    with pytest.raises(ValueError, match=rf"records\.jsonl:{count + 1}: schema is 9"):
        load(tmp_path)


def test_claims_are_read_key_by_key(tmp_path, run_folder):
    (tmp_path / "records.jsonl").write_text("")
    row = json.loads((run_folder / "claims.jsonl").read_text().split("\n")[0])
    (tmp_path / "claims.jsonl").write_text(json.dumps(row | {"seeds": [0, 1, 2], "extra": 1}) + "\n")
    assert load(tmp_path).claims[0].seeds == 3
    (tmp_path / "claims.jsonl").write_text(json.dumps(row | {"verdict": "perhaps"}) + "\n")
    with pytest.raises(ValueError, match=r"claims\.jsonl:1: verdict is 'perhaps'; allowed: holds, fails, undecided"):
        load(tmp_path)
    del row["p_holm"]
    (tmp_path / "claims.jsonl").write_text(json.dumps(row) + "\n")
    with pytest.raises(ValueError, match="missing key 'p_holm'"):
        load(tmp_path)


def test_missing_files_are_told_in_words(tmp_path):
    (tmp_path / "records.jsonl").write_text("")
    absent = load(tmp_path).absent
    assert "samples/index.json is missing: no sample videos." in absent and len(absent) == 8
    assert isinstance(load(tmp_path), Run)
