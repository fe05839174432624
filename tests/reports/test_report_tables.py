"""Tables: the right number in the right cell, worlds apart, marks only where the intervals allow them."""

import csv
import io
from dataclasses import replace

import pytest

from reports import words
from reports.export import CSV_HEAD, table_csv
from reports.load import Claim, Run
from reports.paper import paper
from reports.record import Record
from reports.tables import ablation_tables, comparison_table, extra_tables
from reports.verdicts import compared_words, order
from tests.fixtures.run_folder import FakeRun, records


def table_of(run: Run):
    return ablation_tables(run)[0]


def small(run: Run, **values: tuple[float, float, float]) -> Run:
    """A run of one column: variant -> (value, low, high)."""
    first = next(r for r in run.records if r.metric == "fvd" and r.seed is None and r.role == "variant")
    made = [replace(first, variant=v, label=v, value=x, low=a, high=b) for v, (x, a, b) in values.items()]
    return Run(run.folder, made)


def marks(run: Run) -> dict[str, str]:
    return {row.variant: row.cells[0].mark for row in table_of(run).rows if row.cells[0] is not None}


def test_rows_and_columns_are_the_papers(run):
    table = table_of(run)
    assert [row.label for row in table.rows] == [
        "DynamiCrafter", "w/o ctx", "w/o VDG", "w/o λ", "Ours_G", "Ft. ent.", "1st frame", "One stage",
        "No adaptation", "Real against real", "Autoencoder reconstruction", "Static repeat of the input",
        "Another clip",
    ]  # fmt: skip
    heads = [(c.dataset, c.head) for c in table.columns]
    assert heads[:3] == [
        ("ucf101", "FVD (tiny-i3d)"),
        ("ucf101", "KVD (tiny-i3d)"),
        ("ucf101", "PIC (tiny-perceptual)"),
    ]
    assert [dataset for dataset, _ in heads[3:]] == ["msrvtt"] * 3
    assert table.published == (("msrvtt", "fvd"), ("msrvtt", "pic"))


def test_each_cell_is_its_record(run):
    table = table_of(run)
    means = {(r.variant, r.dataset, r.metric): r for r in run.records if r.seed is None or r.role == "baseline"}
    for row in table.rows:
        for column, cell in zip(table.columns, row.cells, strict=True):
            record = means[row.variant, column.dataset, column.metric]
            assert (cell.value, cell.low, cell.high) == (record.value, record.low, record.high)
            seeds = {r.seed: r.value for r in run.records
                     if (r.variant, r.dataset, r.metric) == (row.variant, column.dataset, column.metric)
                     and r.seed is not None}  # fmt: skip
            assert dict(cell.seeds) == seeds


def test_published_numbers_stand_as_printed(run):
    rows = {row.label: row.published for row in table_of(run).rows}
    assert rows["DynamiCrafter"] == ("234.66", "0.5803") and rows["w/o VDG"] == ("159.24", "0.6945")
    assert rows["One stage"] == (None, None) and rows["Another clip"] == (None, None)
    comparison = comparison_table(run, table_of(run))
    assert [(row.label, *row.published) for row in comparison.rows] == [
        ("VideoComposer", "576.81", "65.56", "0.5269", "377.29", "26.34", "0.4460"),
        ("I2VGen-XL", "571.11", "58.59", "0.5313", "289.10", "14.70", "0.5352"),
        ("DynamiCrafter", "429.23", "62.47", "0.6078", "234.66", "13.74", "0.5803"),
    ]
    assert comparison.rows[0].cells[0] is None and comparison.rows[2].cells[0] is not None


def with_systems(run):
    """The run, asked about other systems too: one is given and measured elsewhere, two are not given."""
    variants = {
        "full": {"label": "DynamiCrafter", "overrides": {}},
        "theirs": {"label": "I2VGen-XL", "overrides": {"system": "i2vgen-xl"}},
        "sora": {"label": "Sora", "overrides": {"system": "sora"}},
        "no_vdg": {"label": "w/o VDG", "overrides": {"model.visual_detail_guidance": "none"}},
    }
    empty = {"theirs": "not given: this", "sora": "not given: that"}
    asked = {"question": "Who?", "variants": variants, "empty": empty}
    return replace(run, spec={**run.spec, "questions": {**run.spec["questions"], "who": asked}})


def test_systems_that_are_asked_about_have_a_row_each(run):
    comparison = comparison_table(with_systems(run), table_of(run))
    leading, ways = comparison.groups
    assert [row.label for row in leading.rows] == ["DynamiCrafter", "I2VGen-XL", "Sora", "VideoComposer"]
    assert [row.absent for row in leading.rows] == ["", "not given: this", "not given: that", ""]
    assert leading.rows[1].published[0] == "571.11" and leading.rows[2].published == (None,) * 6
    assert leading.rows[0].cells[0] is not None and leading.rows[1].cells == (None,) * len(comparison.columns)
    assert ways.title == words.WAYS_TITLE and [row.label for row in ways.rows] == ["w/o VDG"]
    assert ways.rows[0].cells[0] is not None


def test_the_row_of_a_comparison_is_its_own_variant_whatever_else_is_called_so(run):
    released = [replace(r, question="who", value=7.0, low=6.0, high=8.0)
                for r in run.records if (r.question, r.variant, r.seed) == ("dual_stream", "full", None)]  # fmt: skip
    both = replace(with_systems(run), records=[*run.records, *released])
    leading = comparison_table(both, table_of(both)).groups[0]
    assert leading.rows[0].label == "DynamiCrafter"
    assert {cell.value for cell in leading.rows[0].cells if cell} == {7.0}, "not those of another question"


def test_a_claim_about_a_system_has_the_papers_numbers_beside_it(run):
    asked = with_systems(run)
    claim = Claim(
        question="who", claim="ours is better", metric="fvd", dataset="ucf101", better=("full", "theirs"), effect=None,
        low=None, high=None, level=None, p=None, p_holm=None, verdict="not tested", n=0, seeds=0, unit="FVD",
        per_seed=(), notes=("no numbers of theirs",),
    )  # fmt: skip
    assert order(asked, claim) == "DynamiCrafter better than I2VGen-XL", "of a row without records too"
    assert compared_words(asked, claim) == "429.23 against 571.11 on UCF-101, 234.66 against 289.10 on MSR-VTT"
    assert compared_words(asked, replace(claim, better=("full", "sora"))) == ""
    assert compared_words(asked, replace(claim, better=("full", "no_vdg"))) == "", "not about systems"


def test_paper_claims_follow_the_published_table():
    source = paper()
    for claim in source.claims:
        values = [float(source.ablation.value(source.labels[name], "msrvtt", claim.metric)) for name in claim.better]
        assert values == sorted(values, reverse=claim.metric == "pic"), claim.sentence
    assert len(source.claims) == 12


def test_best_is_marked_only_where_the_interval_is_apart(run):
    assert marks(small(run, a=(10, 9, 11), b=(20, 19, 21), c=(30, 29, 31))) == {
        "a": "best",
        "b": "second",
        "c": "",
    }
    assert marks(small(run, a=(10, 9, 11), b=(20, 19, 29.5), c=(30, 29, 31))) == {
        "a": "best",
        "b": "",
        "c": "",
    }
    assert marks(small(run, a=(10, 9, 19.5), b=(20, 19, 21), c=(30, 29, 31))) == {"a": "", "b": "", "c": ""}
    assert marks(small(run, a=(10, 9, 11))) == {"a": ""}


def test_the_best_must_be_apart_from_all_others_not_only_from_the_next(run):
    assert marks(small(run, a=(10, 9, 11), b=(20, 19, 21), c=(30, 10.5, 31)))["a"] == ""


def test_a_paired_claim_can_set_two_apart(run):
    overlapping = small(run, a=(10, 5, 19), b=(20, 15, 25))
    claim = Claim(
        question="q", claim="a is better", metric="fvd", dataset="ucf101", better=("a", "b"), effect=10,
        low=5, high=15, level=0.95, p=0.001, p_holm=0.001, verdict="holds", n=9, seeds=3, unit="FVD",
        per_seed=(),
    )  # fmt: skip
    assert marks(replace(overlapping, claims=[claim])) == {"a": "best", "b": ""}
    assert marks(replace(overlapping, claims=[replace(claim, verdict="undecided")])) == {"a": "", "b": ""}
    backward = replace(claim, better=("b", "a"), verdict="fails")
    assert marks(replace(overlapping, claims=[backward])) == {"a": "best", "b": ""}


def test_higher_is_better_for_pic(run):
    fvd = small(run, a=(10, 9, 11), b=(20, 19, 21))
    pic = replace(fvd, records=[replace(r, metric="pic") for r in fvd.records])
    assert marks(pic) == {"a": "", "b": "best"}


def test_other_metrics_stand_apart_and_none_is_best(run):
    fvd = small(run, a=(10, 9, 11), b=(20, 19, 21))
    both = replace(fvd, records=[*fvd.records, *(replace(r, metric="motion", features="frames") for r in fvd.records)])
    assert [c.metric for t in ablation_tables(both) for c in t.columns] == ["fvd"]
    (extra,) = extra_tables(both)
    assert [c.head for c in extra.columns] == ["Motion (frames)"] and extra.published == ()
    assert [row.cells[0].mark for row in extra.rows] == ["", ""] and extra.rows[0].cells[0].value == 10


def test_a_claim_marks_only_the_table_of_its_own_protocol(run):
    own = small(run, a=(10, 5, 19), b=(20, 15, 25))
    other = [replace(r, protocol="cd-fvd/v1") for r in own.records]
    claim = Claim(
        question="q", claim="a is better", metric="fvd", dataset="ucf101", better=("a", "b"), effect=10,
        low=5, high=15, level=0.95, p=0.001, p_holm=0.001, verdict="holds", n=9, seeds=3, unit="FVD",
        per_seed=(),
    )  # fmt: skip

    def best(claim: Claim) -> list[str]:
        tables = ablation_tables(replace(own, records=[*own.records, *other], claims=[claim]))
        return [t.protocol for t in tables if any(c.mark for c in t.cells)]

    assert best(claim) == [own.records[0].protocol] and best(replace(claim, protocol="cd-fvd/v1")) == ["cd-fvd/v1"]


def test_the_runs_own_protocol_leads_whatever_is_larger(run):
    more = [replace(r, protocol=name) for name in ("a/v1", "b/v1") for r in run.records]
    few = [r for r in run.records if r.variant in ("full", "no_ctx")]
    mixed = replace(run, records=[*more, *few])
    assert [t.protocol for t in ablation_tables(mixed)] == ["tiny/v1", "a/v1", "b/v1"]
    assert next(t.protocol for t in ablation_tables(replace(mixed, spec={}))) == "a/v1"


@pytest.mark.parametrize("change", [{"world": "real"}, {"protocol": "stylegan-v/v1"}])
def test_other_worlds_and_protocols_get_tables_of_their_own(run, change):
    other = [replace(r, **change) for r in run.records if r.metric == "fvd"]
    tables = ablation_tables(replace(run, records=[*run.records, *other]))
    assert [(t.world, t.protocol) for t in tables][1] == (
        change.get("world", "tiny"),
        change.get("protocol", "tiny/v1"),
    )
    assert len(tables[0].columns) == 6 and len(tables[1].columns) == 2


def test_other_features_get_a_column_of_their_own(run):
    other = [replace(r, features="i3d-k400") for r in run.records if r.metric == "fvd" and r.dataset == "ucf101"]
    heads = [c.head for c in table_of(replace(run, records=[*run.records, *other])).columns if c.dataset == "ucf101"]
    assert heads == ["FVD (i3d-k400)", "FVD (tiny-i3d)", "KVD (tiny-i3d)", "PIC (tiny-perceptual)"]


def test_one_seed_is_shown_as_it_is_and_several_without_a_mean_are_averaged(run):
    one = Run(run.folder, records(FakeRun(seeds=(4,))))
    assert dict(table_of(one).rows[0].cells[0].seeds).keys() == {4}
    seeds = [r for r in run.records if r.variant == "full" and r.seed is not None and r.question == "stages"]
    cell = table_of(Run(run.folder, seeds)).rows[0].cells[0]
    assert cell.value == pytest.approx(sum(v for _, v in cell.seeds) / 3) and cell.low is None
    assert "Mean over the seeds computed for this report" in cell.notes[0]


def test_the_same_seed_twice_is_refused(run):
    twice = next(r for r in run.records if r.seed == 0)
    with pytest.raises(ValueError, match="has seed 0 twice"):
        ablation_tables(Run(run.folder, [twice, twice]))


def test_a_note_of_every_cell_is_said_once_and_others_are_numbered(run):
    noted = [replace(r, notes=("all", "only full") if r.variant == "full" else ("all",)) for r in run.records]
    table = table_of(replace(run, records=noted))
    assert table.general == ("all",) and table.notes == ("only full",)
    assert [row.cells[0].marks for row in table.rows][:2] == [(1,), ()]


def test_a_note_of_whole_columns_names_them(run):
    def notes(r: Record) -> tuple[str, ...]:
        return ("two clips set aside",) * (r.dataset == "ucf101") + ("singular",) * (r.metric == "fvd")

    table = table_of(replace(run, records=[replace(r, notes=notes(r)) for r in run.records]))
    assert table.general == ("UCF-101: two clips set aside", "UCF-101 FVD and MSR-VTT FVD: singular")
    assert table.notes == () and all(cell.marks == () for row in table.rows for cell in row.cells)


def test_csv_holds_every_record_with_the_paper_beside_it(run, run_folder):
    source = io.StringIO((run_folder / "table.csv").read_bytes().decode("utf-8"), newline="")
    rows = list(csv.DictReader(source))
    assert tuple(rows[0]) == CSV_HEAD and len(rows) == len(run.records)
    first = run.records[0]
    assert float(rows[0]["value"]) == first.value and rows[0]["label"] == first.label
    printed = {row["published"] for row in rows if row["label"] == "w/o ctx" and row["dataset"] == "msrvtt"}
    assert printed == {"372.80", "", "0.4916"}


def test_csv_cells_are_no_formulas(run):
    evil: Record = replace(run.records[0], label="=cmd|' /C calc'!A0")
    row = next(csv.DictReader(io.StringIO(table_csv(Run(run.folder, [evil])))))
    assert row["label"] == "'=cmd|' /C calc'!A0"
    assert row["value"] == repr(evil.value)
