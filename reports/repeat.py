"""What does it take to get the same numbers? Command, versions, machine, weights, data, protocols, steps.

Source: environment.json, spec.json and plan.json of the run folder.
"""

from __future__ import annotations

import json

import yaml

from reports import words
from reports.load import Json, Run, items, mapping, number, text
from reports.spreadsheet import csv_text

FACTS = (
    ("profile", "Profile"),
    ("seeds", "Training seeds"),
    ("git_commit", "Commit"),
    ("python", "Python"),
    ("torch", "PyTorch"),
    ("platform", "System"),
    ("cpu", "Processor"),
    ("gpu", "GPU"),
    ("cores", "Cores"),
    ("workers", "Steps at once"),
    ("device", "Device"),
    ("started", "Started"),
    ("finished", "Finished"),
)
ORIGINS = {"authors": "stated by the authors", "ours": "our choice"}


def command(run: Run) -> str:
    """The command as it was typed; '' where the run does not say."""
    said = run.environment.get("command")
    return " ".join(map(text, items(said))) if isinstance(said, list) else text(said)


def facts(run: Run) -> list[tuple[str, str]]:
    """(name, value) of the environment that a reader can use."""
    found = []
    for key, name in FACTS:
        value = run.environment.get(key)
        if value is None or value == "":
            continue
        said = ", ".join(map(text, value)) if isinstance(value, list) else text(value)
        if key == "git_commit" and run.environment.get("dirty"):
            said += " with uncommitted changes: the commit alone does not give this code"
        found.append((name, said))
    return found


def packages(run: Run) -> str:
    """'numpy 2.3.1, av 18.1.0'."""
    return ", ".join(f"{name} {version}" for name, version in mapping(run.environment.get("packages")).items())


def inputs(run: Run) -> list[tuple[str, str, str]]:
    """(what, file or folder, sha256) of weights and of evaluation data that the user gave."""
    rows = []
    for role, about in mapping(run.spec.get("weights")).items():
        file = mapping(about)
        rows.append((f"weights {role}", text(file.get("file")), text(file.get("sha256"))))
    for role, about in mapping(run.spec.get("data")).items():
        data = mapping(about)
        rows.append((f"data {role}", text(data.get("root")), text(data.get("content") or data.get("catalog"))))
    return rows


def protocols(run: Run) -> dict[str, list[tuple[str, str, str, str]]]:
    """Protocol -> (field, value, whose choice, words)."""
    return {
        name: [_field(mapping(row)) for row in items(rows)] for name, rows in mapping(run.spec.get("protocols")).items()
    }


def _field(row: Json) -> tuple[str, str, str, str]:
    value = row.get("value")
    origin = text(row.get("origin"))
    return text(row.get("field")), plain(value), ORIGINS.get(origin, origin), text(row.get("words"))


def plain(value: object) -> str:
    """A value of a protocol as people write it: 'height 32, width 32', 'none', '3'."""
    if isinstance(value, dict):
        return ", ".join(f"{key}: {plain(one)}" for key, one in value.items())
    if isinstance(value, list):
        return ", ".join(map(plain, value))
    if isinstance(value, bool):
        return "yes" if value else "no"
    known = number(value)
    return "none" if value is None else f"{known:.12g}" if known is not None else text(value)


def steps(run: Run) -> list[tuple[str, str, str, str]]:
    """(step, kind, fingerprint, how many results stand on it)."""
    rows = []
    for step in map(mapping, items(run.plan.get("steps"))):
        used = words.count(len(items(step.get("used_by"))), "result")
        rows.append((text(step.get("label")), text(step.get("kind")), text(step.get("fingerprint")), used))
    return rows


def steps_csv(run: Run) -> str:
    """The steps with whole fingerprints."""
    return csv_text(("step", "kind", "fingerprint", "used_by"), steps(run))


def questions(run: Run) -> list[tuple[str, str]]:
    """(name and fingerprint, the resolved spec as YAML)."""
    return [
        (f"{name} {text(mapping(about).get('fingerprint'))[:12]}".strip(), as_yaml(about))
        for name, about in mapping(run.spec.get("questions")).items()
    ]


def profile(run: Run) -> str:
    """The resolved profile as YAML; '' without one."""
    known = mapping(run.spec.get("profile"))
    return as_yaml(known) if known else ""


def as_yaml(value: object) -> str:
    """Block style, keys in their order, any script."""
    return str(yaml.safe_dump(json.loads(json.dumps(value)), sort_keys=False, allow_unicode=True, width=100)).rstrip()
