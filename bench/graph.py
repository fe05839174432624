"""Steps and what they need of each other: a graph in which equal work is one node.

An input of a step is another step or a `File` (weights, a user's folder) that is told apart by its digest.
"""

from __future__ import annotations

import ast
import importlib.util
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache, cached_property
from pathlib import Path
from typing import Any

from bench.fingerprint import is_placeholder, step_fingerprint

User = tuple[str, str, int | None]  # (question, variant, seed): who asked for a step

_MODULES: dict[str, str] = {}  # kinds whose body is not in bench.steps


def register_kind(kind: str, module: str) -> None:
    """Makes `module` the body of a kind of step (a module with `VERSION` and `run(work)`)."""
    _MODULES[kind] = module
    kind_version.cache_clear()


def kind_module(kind: str) -> str:
    """The module that holds the body of a kind of step."""
    return _MODULES.get(kind, f"bench.steps.{kind}")


@cache
def kind_version(kind: str) -> int:
    """`VERSION` of a kind's module, read from its source: planning imports no torch. Raises ValueError
    without one.
    """
    module = kind_module(kind)
    spec = importlib.util.find_spec(module)
    if spec is None or not spec.origin:
        raise ValueError(f"step kind '{kind}' has no module {module}")
    for node in ast.parse(Path(spec.origin).read_text(encoding="utf-8")).body:
        targets = [node.target] if isinstance(node, ast.AnnAssign) else getattr(node, "targets", [])
        if any(isinstance(t, ast.Name) and t.id == "VERSION" for t in targets):
            value = getattr(node, "value", None)
            if isinstance(value, ast.Constant) and isinstance(value.value, int):
                return value.value
    raise ValueError(f"{spec.origin} has no line `VERSION = <whole number>`")


@dataclass(frozen=True)
class File:
    """A file or folder given from outside: its digest counts, its path does not."""

    path: Path
    digest: str

    @property
    def missing(self) -> bool:
        """Whether the file is not there yet."""
        return is_placeholder(self.digest)


@dataclass(frozen=True, eq=False)
class Step:
    """One unit of work.

    Args:
        kind: which body does it.
        label: what a person reads in progress lines and plans.
        config: everything that changes the artifact, JSON.
        inputs: role -> step or file.
        local: keys merged into the config at run time that do not change the artifact (paths, intervals).
        cost: rough CPU seconds, for the order of work and the time left.
        disk: rough bytes of the artifact.
    """

    kind: str
    label: str
    config: Mapping[str, Any]
    inputs: Mapping[str, Step | File] = field(default_factory=dict)
    local: Mapping[str, Any] = field(default_factory=dict)
    cost: float = 1.0
    disk: float = 0.0

    @cached_property
    def fingerprint(self) -> str:
        """sha256 of kind, version, config and the inputs' digests."""
        return step_fingerprint(self.kind, kind_version(self.kind), self.config, self.input_digests)

    @cached_property
    def input_digests(self) -> dict[str, str]:
        """role -> fingerprint of the step, or digest of the file."""
        return {r: s.fingerprint if isinstance(s, Step) else s.digest for r, s in self.inputs.items()}

    @property
    def parents(self) -> list[Step]:
        """The steps that must be done before."""
        return [source for source in self.inputs.values() if isinstance(source, Step)]


class Graph:
    """Steps by fingerprint, in an order in which every step comes after its inputs."""

    def __init__(self) -> None:
        self.steps: dict[str, Step] = {}
        self.users: dict[str, dict[User, None]] = {}

    def add(self, step: Step, user: User | None = None) -> Step:
        """Adds a step, or returns the equal one that is there; its inputs must have been added."""
        kept = self.steps.setdefault(step.fingerprint, step)
        users = self.users.setdefault(step.fingerprint, {})
        if user is not None:
            users[user] = None
        return kept

    def use(self, step: Step, user: User) -> None:
        """Notes that `user` needs a step and everything it stands on."""
        todo = [step]
        while todo:
            one = todo.pop()
            users = self.users[one.fingerprint]
            if user not in users:
                users[user] = None
                todo += one.parents

    def __iter__(self) -> Iterator[Step]:
        return iter(self.steps.values())

    def __len__(self) -> int:
        return len(self.steps)

    def missing_files(self) -> list[File]:
        """Files that steps need and that are not there, each once."""
        found = {s.digest: s for step in self for s in step.inputs.values() if isinstance(s, File) and s.missing}
        return list(found.values())

    def to_json(self) -> list[dict[str, Any]]:
        """The steps as `plan.json` lists them."""
        return [
            {
                "fingerprint": step.fingerprint,
                "kind": step.kind,
                "label": step.label,
                "inputs": step.input_digests,
                "used_by": [list(user) for user in self.users[step.fingerprint]],
            }
            for step in self
        ]


def path_costs(graph: Graph, costs: Mapping[str, float]) -> dict[str, float]:
    """Seconds from the start of each step to the end of everything that waits for it (the critical path)."""
    longest: dict[str, float] = {}
    after: dict[str, float] = {}
    for step in reversed(list(graph)):
        total = costs[step.fingerprint] + after.get(step.fingerprint, 0.0)
        longest[step.fingerprint] = total
        for parent in step.parents:
            after[parent.fingerprint] = max(after.get(parent.fingerprint, 0.0), total)
    return longest
