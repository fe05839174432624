"""The documents say what is true: paths exist, examples run, every protocol field is told with its value.

`python -m tests.test_docs` writes the tables of docs/protocols.md again.
"""

import re
import sys
import types
from pathlib import Path

import pytest

from bench import protocol
from bench.profile import load_profile, profile_names
from bench.protocols.dialects import DIALECTS

ROOT = Path(__file__).parents[1]
DOCUMENTS = (
    "README.md",
    "CONTRIBUTING.md",
    "CHANGELOG.md",
    "examples/README.md",
    *(
        f"docs/{name}.md"
        for name in (
            "architecture",
            "protocols",
            "scoring",
            "metrics",
            "statistics",
            "profiles",
            "performance",
            "applications",
            "motion_text",
            "scaling",
            "systems",
            "report",
            "faults",
        )
    ),
)
FOLDERS = ("ablations", "bench", "datasets", "docs", "examples", "models", "reports", "tests", "weights")
NAMES = ("dynamicrafter-256/v1", "tiny/v1")
BLOCK = re.compile(r"^```\w+\n# (\S+)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def text(name: str) -> str:
    return (ROOT / name).read_text(encoding="utf-8")


def blocks() -> dict[str, str]:
    """{path: code} of the examples in CONTRIBUTING.md."""
    found = {path: code for path, code in BLOCK.findall(text("CONTRIBUTING.md"))}
    assert len(found) == 9
    return found


@pytest.mark.parametrize("name", DOCUMENTS)
def test_every_path_is_there(name):
    new = set(blocks())
    quoted = re.findall(r"`([\w./-]+)`", text(name))
    paths = [q for q in quoted if q.split("/")[0] in FOLDERS and "/" in q and q not in new]
    assert paths or name not in ("CONTRIBUTING.md", "docs/architecture.md")
    assert [path for path in paths if not (ROOT / path).exists()] == []


def test_every_name_is_in_the_file_that_its_row_names():
    rows = re.findall(r"^\| (`[^|]*\.py`) \| (.*) \|$", text("CONTRIBUTING.md"), re.MULTILINE)
    pairs = re.findall(r"`([A-Z_]{5,})`(?: of| in)\s+`([\w./]+\.py)`", text("CONTRIBUTING.md"))
    for files, words in rows:
        paths = re.findall(r"`([^`]+)`", files)
        names = re.findall(r"`([A-Z_]{5,}|Evaluation|Claim)\b[^`]*`", words)
        pairs += [(n, p) for n, p in zip(names, paths, strict=True)] if len(paths) == len(names) else []
        pairs += [(n, paths[0]) for n in names] if len(paths) == 1 else []
        pairs += [(names[0], p) for p in paths] if len(names) == 1 else []
    assert len(pairs) > 15
    assert [(n, p) for n, p in pairs if not re.search(rf"\b{n}\b", text(p))] == []


def test_the_changelog_names_every_command_question_and_profile():
    from bench.cli import app

    commands = [c.name or c.callback.__name__ for c in app.registered_commands if c.callback]
    names = [*commands, *(group.name or "" for group in app.registered_groups), *profile_names()]
    names += [path.stem for path in (ROOT / "ablations").glob("*.yaml")]
    assert [name for name in names if f"`{name}`" not in text("CHANGELOG.md")] == []


def run_tests(code: str, *arguments: object) -> None:
    """Executes an example's test file and calls its one test."""
    scope: dict[str, object] = {}
    exec(code, scope)
    (test,) = [value for name, value in scope.items() if name.startswith("test_")]
    test(*arguments)  # type: ignore[operator]


def test_the_ablation_example(tmp_path, monkeypatch):
    (tmp_path / "ablations").mkdir()
    (tmp_path / "ablations/lambda_without_vdg.yaml").write_text(blocks()["ablations/lambda_without_vdg.yaml"])
    monkeypatch.chdir(tmp_path)
    run_tests(blocks()["tests/bench/test_lambda_without_vdg.py"])


@pytest.mark.parametrize(
    ("path", "test"),
    [
        ("bench/metrics/worst.py", "tests/bench/metrics/test_worst.py"),
        ("datasets/classfolders.py", "tests/datasets/test_classfolders.py"),
    ],
)
def test_the_metric_and_dataset_examples(path, test, tmp_path, monkeypatch):
    name = path.removesuffix(".py").replace("/", ".")
    module = types.ModuleType(name)
    exec(blocks()[path], vars(module))
    monkeypatch.setitem(sys.modules, name, module)
    run_tests(blocks()[test], *([tmp_path] if "tmp_path" in blocks()[test] else []))


def test_the_system_example(monkeypatch):
    module = types.ModuleType("models.external.skyreels")
    exec(blocks()["models/external/skyreels.py"], vars(module))
    monkeypatch.setitem(sys.modules, "models.external.skyreels", module)
    run_tests(blocks()["tests/models/test_skyreels.py"])


def test_the_switch_example():
    import torch

    from models import detail

    scope = dict(vars(detail))
    exec(blocks()["models/detail.py"], scope)
    made = scope["FirstOnly"]()(torch.ones(1, 4, 3, 2, 2), torch.full((1, 4, 1, 2, 2), 5.0))
    assert made[0, 4].amax(dim=(1, 2)).tolist() == [5.0, 0.0, 0.0]
    assert set(detail.DETAIL) >= {"repeat", "none"}


# docs/protocols.md


def shown(value: object) -> str:
    if isinstance(value, dict):
        return ", ".join(f"{key}: {shown(one)}" for key, one in value.items())
    if isinstance(value, list | tuple):
        return ", ".join(map(shown, value))
    return "none" if value is None else str(value).replace("|", "\\|")


def table(name: str) -> str:
    """One protocol as Markdown, from the fields that the code has."""
    resolved = protocol.resolve(name, load_profile("tiny").model_dump(mode="json"))
    rows = [f"| `{c.field}` | {shown(c.value)} | {c.origin} | {shown(c.words)} |" for c in resolved.choices]
    return "\n".join(["| field | value | origin | words |", "|---|---|---|---|", *rows])


DIALECT_FIELDS = (  # columns of the table of dialects
    *("feature_input", "feature_eps", "reference_bytes", "covariance_divisor", "covariance_root", "kvd_estimator"),
    *("kvd_scale", "required_count"),
)


def dialects() -> str:
    """What tells the dialects apart, as Markdown; (ours): not stated by their authors."""
    profile = load_profile("tiny").model_dump(mode="json")
    rows = []
    for name in DIALECTS:
        choices = {c.field: c for c in protocol.resolve(name, profile).choices}
        cells = [choices[field] for field in DIALECT_FIELDS]
        rows.append([f"`{name}`", *(shown(c.value) + (" (ours)" if c.origin == "ours" else "") for c in cells)])
    head = ["protocol", *(f"`{field}`" for field in DIALECT_FIELDS)]
    return "\n".join(f"| {' | '.join(row)} |" for row in [head, ["---"] * len(head), *rows])


def sizes() -> str:
    """What the released sizes change of the evaluation at 256, as Markdown."""
    first = {c.field: c for c in protocol.resolve("dynamicrafter-256/v1").choices}
    lines = ["| protocol | field | value | origin | words |", "|---|---|---|---|---|"]
    for name in ("dynamicrafter-512/v1", "dynamicrafter-1024/v1", "dynamicrafter-512-interp/v1"):
        for c in protocol.resolve(name).choices:
            if c.value != first[c.field].value:
                lines.append(f"| `{name}` | `{c.field}` | {shown(c.value)} | {c.origin} | {shown(c.words)} |")
    return "\n".join(lines)


WRITTEN = {**{name: (lambda name=name: table(name)) for name in NAMES}, "dialects": dialects, "sizes": sizes}


def between(name: str) -> str:
    return rf"(?<=<!-- {name} -->\n)(.*?)(?=\n<!-- end -->)"


@pytest.mark.parametrize("name", WRITTEN)
def test_the_document_has_every_field_with_its_value(name):
    found = re.search(between(name), text("docs/protocols.md"), re.DOTALL)
    assert found, f"docs/protocols.md has no table of {name}"
    assert found[1] == WRITTEN[name](), "run `python -m tests.test_docs` to write the tables again"


def test_the_document_names_every_protocol():
    assert set(protocol.PROTOCOLS) <= set(re.findall(r"`([\w./-]+)`", text("docs/protocols.md")))


if __name__ == "__main__":
    content = text("docs/protocols.md")
    for one, write in WRITTEN.items():
        content = re.sub(between(one), lambda _, write=write: write(), content, flags=re.DOTALL, count=1)
    (ROOT / "docs/protocols.md").write_text(content, encoding="utf-8")
