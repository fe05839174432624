"""The same bytes whatever the workers, the order, the company and the batch: each axis alone, on cold stores.

Interruptions are tested in tests/faults, ranks in tests/reproducibility/test_rank_runs.py.
"""

from pathlib import Path

import pytest

from tests.faults import hostile
from tests.faults.digest import differences
from tests.reproducibility.compare import key, lines, spread
from tests.reproducibility.record import artifacts, run

pytestmark = pytest.mark.slow
HEAD = 'question: Does {name} come out the same?\nsource: "a test"\nvariants:\n'
VARIANTS = {
    "full": '  full: {label: "DynamiCrafter"}\n',
    "no_ctx": '  no_ctx: {label: "w/o ctx", model.context: none}\n',
    "fixed": '  fixed: {label: "fixed", model.image_scale: fixed}\n',
}


def spec(folder: Path, name: str, *variants: str) -> str:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}.yaml"
    path.write_text(HEAD.format(name=name) + "".join(VARIANTS[variant] for variant in variants))
    return str(path)


def profile(folder: Path, **changes: str) -> str:
    """The smoke profile with some of its text replaced; {old: new} by words that are in it once."""
    text = hostile.PROFILE
    for old, new in changes.items():
        before = old.replace("_", ": ")
        assert text.count(before) == 1, before
        text = text.replace(before, new)
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "smoke.yaml"
    path.write_text(text)
    return str(path)


@pytest.fixture(scope="module")
def base(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two variants, two workers."""
    folder = tmp_path_factory.mktemp("base")
    run(folder, [spec(folder / "specs", "pair", "full", "no_ctx")])
    return folder


def records(folder: Path) -> dict[tuple, str]:
    """Whose -> line of records.jsonl."""
    text = (folder / "run" / "records.jsonl").read_text(encoding="utf-8").splitlines()
    return {key(record): line for record, line in zip(lines(folder / "run" / "records.jsonl"), text, strict=True)}


def test_one_worker_or_two(base: Path, tmp_path: Path) -> None:
    run(tmp_path, [spec(tmp_path / "specs", "pair", "full", "no_ctx")], workers=1)
    assert differences(artifacts(base), artifacts(tmp_path)) == []
    assert list(records(tmp_path).items()) == list(records(base).items())


def test_the_order_of_variants_and_questions_and_what_stands_beside_them(base: Path, tmp_path: Path) -> None:
    questions = [
        spec(tmp_path / "specs", "another", "fixed", "no_ctx"),
        spec(tmp_path / "specs", "pair", "no_ctx", "full"),
    ]
    run(tmp_path, questions)
    mine, theirs = artifacts(base), artifacts(tmp_path)
    assert mine.items() <= theirs.items(), differences(mine, theirs)[:5]
    assert records(base).items() <= records(tmp_path).items()
    assert len(records(tmp_path)) > len(records(base))


def test_how_many_clips_are_sampled_at_once(base: Path, tmp_path: Path) -> None:
    run(tmp_path, [spec(tmp_path / "specs", "pair", "full", "no_ctx")], profile(tmp_path / "p", batch_8="batch: 3"))
    assert differences(artifacts(base), artifacts(tmp_path)) == []
    assert records(tmp_path) == records(base)


def test_how_many_clips_and_frames_are_encoded_and_measured_at_once(base: Path, tmp_path: Path) -> None:
    """These shapes are part of the fingerprint: a network may give other last bits at another batch size."""
    text = "previews: 4\nbatches: {encode: 5, reconstruct: 3, features: 3}"
    run(tmp_path, [spec(tmp_path / "specs", "pair", "full", "no_ctx")], profile(tmp_path / "p", previews_4=text))
    apart = spread(base / "run" / "records.jsonl", tmp_path / "run" / "records.jsonl")
    assert apart and max(apart.values()) <= BATCH_BOUND, apart


BATCH_BOUND = 1e-3  # relative, or absolute where a value lies between -1 and 1
