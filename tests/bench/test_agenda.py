"""Which step can start: every order it gives is possible, also when something has to be done again."""

import random

import pytest

from bench.agenda import TIMES_AGAIN, Agenda
from bench.graph import Graph, Step


def graph_of(rng: random.Random, size: int) -> Graph:
    """Steps that stand on up to three earlier ones; kinds that exist, so that they have a version."""
    graph, steps = Graph(), []
    for k in range(size):
        parents = rng.sample(steps, min(len(steps), rng.randrange(4)))
        inputs = {f"in{j}": parent for j, parent in enumerate(parents)}
        steps.append(graph.add(Step("world", f"s{k}", {"k": k}, inputs, {}, rng.random())))
    return graph


def play(graph: Graph, rng: random.Random, trouble: float) -> tuple[list[str], set[str]]:
    """Up to three steps at once end in a random order; some fail, some find an input damaged."""
    agenda, running, done, failed, lost = Agenda(graph, ()), [], [], set(), set()
    for _ in range(20 * len(graph)):
        if agenda.finished and not running:
            break
        while len(running) < 3 and agenda.ready():
            step = agenda.take()
            assert step.fingerprint not in {s.fingerprint for s in running}, "handed out twice"
            running.append(step)
        step = running.pop(rng.randrange(len(running)))
        gone = [p.fingerprint for p in step.parents if p.fingerprint not in set(done)]
        dice = rng.random()
        if gone or (step.parents and dice < trouble):
            damaged = gone or [rng.choice(step.parents).fingerprint]
            opened = agenda.again(step, damaged)
            if opened is not None:
                done = [name for name in done if name not in {one.fingerprint for one in opened}]
                continue
            dice = 1.0
        if dice > 1 - trouble / 4:
            failed.add(step.fingerprint)
            lost |= agenda.fail(step)
        else:
            agenda.done(step)
            done.append(step.fingerprint)
    assert agenda.finished and not running, "it never ends"
    return done, failed | lost


@pytest.mark.parametrize("trouble", [0.0, 0.05, 0.3])
def test_every_step_is_done_once_or_lost_with_one_that_failed(trouble: float) -> None:
    for seed in range(60):
        rng = random.Random(seed)
        graph = graph_of(rng, 14)
        done, gone = play(graph, rng, trouble)
        assert len(done) == len(set(done)) and not set(done) & gone
        assert set(done) | gone == {step.fingerprint for step in graph}
        if not trouble:
            place = {name: k for k, name in enumerate(done)}
            assert all(place[p.fingerprint] < place[s.fingerprint] for s in graph for p in s.parents)


def test_what_is_damaged_again_and_again_is_given_up() -> None:
    graph = Graph()
    below = graph.add(Step("world", "below", {}))
    above = graph.add(Step("world", "above", {"k": 1}, {"in": below}))
    agenda = Agenda(graph, {below.fingerprint})
    for _ in range(TIMES_AGAIN):
        assert agenda.ready() and agenda.take() is above
        assert agenda.again(above, [below.fingerprint]) == [below]
        assert agenda.ready() and agenda.take() is below
        assert not agenda.ready()
        agenda.done(below)
    assert agenda.ready() and agenda.take() is above
    assert agenda.again(above, [below.fingerprint]) is None
