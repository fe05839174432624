"""A record is read strictly, written deterministically, and documented key by key."""

import json
from dataclasses import fields, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from reports.record import DOCUMENTATION, SCHEMA_VERSION, Record, from_line, to_line


def record(**changes: object) -> Record:
    known: dict[str, object] = {
        "schema": SCHEMA_VERSION,
        "question": "dual_stream",
        "variant": "no_lambda",
        "label": "w/o λ",
        "role": "variant",
        "dataset": "ucf101",
        "seed": 0,
        "metric": "fvd",
        "features": "tiny-i3d",
        "protocol": "tiny/v1",
        "world": "tiny",
        "value": 431.25,
        "low": 400.0,
        "high": 460.5,
        "level": 0.95,
        "interval": "over videos",
        "n": 192,
        "comparable": True,
        "notes": ("one clip looped",),
        "fingerprints": {"model": "ab", "clips": "0f"},
    }
    return Record(**(known | changes))  # type: ignore[arg-type]


def line(**changes: object) -> str:
    return json.dumps(record().to_dict() | changes)


def test_a_line_has_sorted_keys_and_one_spelling():
    written = to_line(record())
    assert list(json.loads(written)) == sorted(DOCUMENTATION)
    assert '"value": 431.25' in written and "w/o λ" in written and "\n" not in written
    assert to_line(record(fingerprints={"clips": "0f", "model": "ab"})) == written


@given(st.floats(allow_nan=False, allow_infinity=False), st.text(min_size=1).filter(lambda t: t.isprintable()))
def test_reading_a_written_record_gives_it_back(value, label):
    kept = record(value=value, label=label)
    assert from_line(to_line(kept)) == kept and to_line(from_line(to_line(kept))) == to_line(kept)


def test_equal_numbers_are_written_equally():
    assert to_line(record(value=7, low=-0.0)) == to_line(record(value=7.0, low=0.0))


def test_every_key_is_documented():
    assert list(DOCUMENTATION) == [f.name for f in fields(Record)]
    assert all(len(words) > 15 for words in DOCUMENTATION.values())


@pytest.mark.parametrize(
    ("broken", "said"),
    [
        (line(sede=1), r"unknown key 'sede' \(did you mean 'seed'\?\)"),
        (json.dumps({k: v for k, v in record().to_dict().items() if k != "n"}), "missing key 'n'"),
        (line(schema=2), "schema is 2; this version reads 1 only"),
        (line(schema=None), "schema is None"),
        (line(role="teapot"), "role is 'teapot'; allowed: variant, baseline"),
        (line(world="moon"), "world is 'moon'; allowed: tiny, real"),
        (line(metric="FVD"), "metric is 'FVD'"),
        (line(seed=-1), "seed is -1"),
        (line(seed=True), "seed is True"),
        (line(n=1.5), "n is 1.5"),
        (line(value="431"), "value is '431'"),
        (line(low=500.0), "low 500.0 is above high 460.5"),
        (line(high=None), "low, high and level are given together"),
        (line(level=95), "level is 95.0"),
        (line(interval=""), "interval is ''"),
        (line(comparable=1), "comparable is 1"),
        (line(notes="text"), "notes is 'text'"),
        (line(fingerprints={"model": "XYZ"}), "fingerprints.model is 'XYZ'"),
        (to_line(record()).replace("431.25", "NaN"), "NaN is not a number"),
        (to_line(record()).replace('"n": 192', '"n": 192, "n": 3'), "key given twice: n"),
        ("[1, 2]", "a list came"),
        ("{", "not a JSON line"),
    ],
)
def test_what_is_wrong_is_refused_by_name(broken, said):
    with pytest.raises(ValueError, match=said) as error:
        from_line(broken, "records.jsonl:12")
    assert str(error.value).startswith("records.jsonl:12: ")


def test_a_value_that_could_not_be_computed_is_null_without_interval():
    empty = record(value=None, low=None, high=None, level=None, interval="", notes=("no video decoded",))
    assert from_line(to_line(empty)) == empty
    with pytest.raises(ValueError, match="interval is"):
        replace(empty, interval="over nothing")
