"""A rater's whole session in a real Chromium: intro, every question, closing, coming back, saving; then the tally."""

import json
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench.study.answers import read_key
from bench.study.make import Made, make
from bench.study.tally import tally
from tests.fixtures.run_folder import HOSTILE, FakeRun, write_run
from tests.reports.axe import faults, needs_axe
from tests.reports.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: the study is not tried in it")
CHOSEN = "choices().find((c) => c.checked)?.value ?? null"
PLAYING = "videos().every((v) => v.readyState >= 2 && !v.paused && v.currentTime > 0)"


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    fake = FakeRun(variants=("full", "no_ctx", "no_vdg"), samples=1, curves=False)
    folder = write_run(tmp_path_factory.mktemp("run") / "fake", fake)
    return make([folder], tmp_path_factory.mktemp("study") / "study", items=1)


@pytest.fixture(scope="module")
def browser(made: Made, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium") / "profile") as opened:
        opened.downloads(made.page.parent / "saved")
        opened.open(made.page, 1280, 900)
        yield opened


def wanted(key, screen: str) -> str:
    """A rater who likes the first system, says yes to it alone, and looks."""
    (asked,) = [s for s in key.screens if s.id == screen]
    first = next((o.token for o in asked.options if o.system == 0), None)
    kind = next(c.kind for c in key.criteria if c.name == asked.criterion)
    return asked.right or (first or "no" if kind == "pick" else "yes" if first else "no")


def choose_by_mouse(browser: Browser, value: str) -> None:
    browser.value(f"choices().find((c) => c.value === '{value}').closest('label').click()")
    browser.value("at('next').click()")


def choose_by_keyboard(browser: Browser, value: str) -> None:
    place = browser.value(f"choices().findIndex((c) => c.value === '{value}')")
    browser.press(str(place + 1), 49 + place)
    assert browser.value(CHOSEN) == value and browser.value("document.activeElement.type") == "radio"
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", text="\r", windowsVirtualKeyCode=13)
    browser.call("Input.dispatchKeyEvent", type="keyUp", key="Enter", windowsVirtualKeyCode=13)


@needs_axe
def test_the_intro_has_no_fault(browser):
    assert browser.value("at('form').hidden && at('done').hidden")
    assert faults(browser) == []


def test_the_first_question_shows_its_videos_on_one_clock(browser):
    browser.value("at('begin').click()")
    browser.until(PLAYING)
    assert browser.value("videos().length") == 3 and browser.value("at('back').disabled")
    assert browser.value("document.activeElement.id") == "question"
    spread = browser.value(
        "Math.max(...videos().map((v) => v.currentTime)) - Math.min(...videos().map((v) => v.currentTime))"
    )
    assert spread < 0.25 or spread > 0.6  # the last: one has begun again
    browser.value("document.activeElement.blur()")
    browser.press("p", 80)
    browser.until("videos().every((v) => v.paused) && at('play').textContent === 'Play'")
    browser.press("p", 80)
    browser.until(PLAYING)


@needs_axe
def test_a_question_to_pick_has_no_fault(browser):
    assert faults(browser) == []


def test_nothing_can_be_left_out(browser):
    place = browser.value("state.place")
    browser.value("at('next').click()")
    assert browser.value("state.place") == place and browser.value("Object.keys(state.answers).length") == 0


def test_a_hostile_prompt_is_text(browser):
    assert browser.value("at('prompt').textContent") == HOSTILE
    assert browser.value("document.scripts.length") == 2


def test_half_by_mouse_then_closed_then_half_by_keyboard(browser, made):
    key = read_key(made.key)
    count = len(key.screens)
    assert browser.value("screens.length") == count == 2 * 2 + 2 * 3 + 4
    for _ in range(count // 2):
        choose_by_mouse(browser, wanted(key, browser.value("shown.id")))
    order, given = browser.value("screens.map((s) => s.id)"), browser.value("state.answers")
    assert len(given) == count // 2
    browser.open(made.page, 1280, 900)
    assert browser.value("at('begin').textContent") == "Go on" and not browser.value("at('anew').hidden")
    browser.value("at('begin').click()")
    assert browser.value("screens.map((s) => s.id)") == order and browser.value("state.answers") == given
    while not browser.value("at('form').hidden"):
        choose_by_keyboard(browser, wanted(key, browser.value("shown.id")))
    assert browser.value("at('progress').textContent") == f"{count} of {count} answered"


@needs_axe
def test_the_end_has_no_fault(browser):
    assert not browser.value("at('done').hidden") and faults(browser) == []


def test_going_back_keeps_answers_and_lets_them_be_changed(browser):
    browser.value("at('review').click()")
    before = browser.value(CHOSEN)
    assert before is not None
    browser.value("at('back').click()")
    assert browser.value(CHOSEN) is not None
    assert browser.value("shown.kind") == "judge"
    browser.value("at('next').click()")
    assert not browser.value("at('done').hidden"), "everything is answered: the end is next"


@needs_axe
@pytest.mark.parametrize("dark", [False, True])
def test_a_question_to_judge_has_no_fault_on_a_phone(browser, made, dark):
    browser.open(made.page, 390, 844, dark)
    browser.value("at('begin').click(); at('review').click()")
    browser.until("videos().length === 1")
    assert faults(browser) == []
    assert browser.value("document.documentElement.scrollWidth") == 390
    browser.value("at('next').click()")


def test_saved_answers_are_tallied(browser, made):
    browser.value("if (at('done').hidden) at('begin').click()")
    browser.value("at('save').click()")
    folder, end = made.page.parent / "saved", time.monotonic() + 30
    while not list(folder.glob("answers-*.json")):
        assert time.monotonic() < end, "no file of answers was saved"
        time.sleep(0.05)
    (saved,) = folder.glob("answers-*.json")
    content = json.loads(saved.read_text(encoding="utf-8"))
    assert content["answers"] == json.loads(browser.value("at('text').value"))["answers"]
    assert all(answer["seconds"] >= 0 for answer in content["answers"])
    found = tally([folder], made.key)
    assert found["set_aside"] == [] and found["raters"] == 1
    assert [[s["percent"] for s in q["shares"]] for q in found["questions"]] == [[100, 0, 0]] * 3


def test_another_rater_on_the_same_machine_begins_anew_in_another_order(browser, made):
    order, rater = browser.value("screens.map((s) => s.id)"), browser.value("state.rater")
    orders = []
    for _ in range(2):
        browser.open(made.page, 1280, 900)
        browser.value("at('anew').click()")
        assert browser.value("Object.keys(state.answers).length") == 0 and browser.value("state.rater") != rater
        orders.append(browser.value("screens.map((s) => s.id)"))
        browser.value("at('options').querySelector('label').click(); at('next').click()")
    assert sorted(orders[0]) == sorted(order) and len({tuple(o) for o in [order, *orders]}) > 1


def test_sides_are_shuffled_and_kinds_stay_together(browser):
    drawn = browser.value(
        "[...Array(40).keys()].map((n) => "
        "{ state.seed = n; order(); return screens.map((s) => [s.kind, s.options.join()]); })"
    )
    for screens in drawn:
        kinds = [kind for kind, _ in screens]
        assert kinds == sorted(kinds, reverse=True)
    firsts = {options.split(",")[0] for screens in drawn for kind, options in screens if kind == "pick"}
    assert len({json.dumps(screens) for screens in drawn}) == 40 and len(firsts) >= 6


def test_nothing_went_wrong_and_nothing_was_asked_of_the_network(browser):
    """Last: over all that the tests above did."""
    assert browser.named("Runtime.exceptionThrown") == []
    assert [entry["entry"]["text"] for entry in browser.named("Log.entryAdded")] == []
    asked = {request["request"]["url"].split(":")[0] for request in browser.named("Network.requestWillBeSent")}
    assert asked <= {"file", "data"}


def test_the_folder_of_a_study_holds_the_page_and_the_key(made):
    assert sorted(p.name for p in Path(made.page.parent).iterdir() if p.is_file()) == ["key.json", "study.html"]
