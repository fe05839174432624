"""The page in a real Chromium: no error, no request, videos on one clock, keyboard, names, phone width."""

from collections.abc import Iterator
from pathlib import Path

import pytest
from PIL import Image, ImageStat

from tests.reports.axe import faults, needs_axe
from tests.reports.browser import CHROMIUM, Browser

pytestmark = pytest.mark.skipif(
    CHROMIUM is None, reason="Chromium is not installed: the page is not tried in a browser"
)
GRID = "document.querySelector('[data-grid]')"
VIDEOS = f"[...{GRID}.querySelectorAll('video')]"
SLIDER, PLAY = f"{GRID}.querySelector('[data-slider]')", f"{GRID}.querySelector('[data-play]')"
FRAMES = f"[...new Set({VIDEOS}.map((v) => Math.floor(v.currentTime * 8)))]"
PAUSED = f"{VIDEOS}.every((v) => v.paused && !v.seeking && v.readyState >= 2)"
NAMED = "button, input, img, video, svg[role=img], [role=region]"
NAMELESS = f"""[...document.querySelectorAll('{NAMED}')].filter(
  (e) => !(e.getAttribute('aria-label') || e.alt || e.textContent || e.labels?.[0]?.textContent || '').trim()
).map((e) => e.outerHTML.slice(0, 90))"""
WIDE = """[...document.querySelectorAll('body *')].filter(
  (e) => e.getBoundingClientRect().right > innerWidth + 1 && !e.closest('.scroll, pre, nav, .hidden')
).map((e) => e.tagName + '.' + e.className).slice(0, 5)"""


@pytest.fixture(scope="module")
def browser(run_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    with Browser(tmp_path_factory.mktemp("chromium") / "profile") as opened:
        opened.open(run_folder / "report.html", 1280, 900)
        yield opened


def shown(browser: Browser, what: str) -> int:
    """How many elements of a class or tag the grid displays."""
    return browser.value(
        f"[...{GRID}.querySelectorAll('{what}')].filter((e) => getComputedStyle(e).display !== 'none').length"
    )


def test_videos_play_when_they_come_into_view_and_pause_together(browser):
    browser.value(f"{GRID}.scrollIntoView()")
    browser.until(f"{VIDEOS}.every((v) => !v.paused && v.readyState >= 2 && v.currentTime > 0)")
    assert browser.value(f"{VIDEOS}.length") == 40
    browser.value(f"{PLAY}.click()")
    browser.until(PAUSED)
    assert browser.value(f"{PLAY}.textContent") == "Play"


def test_the_slider_moves_every_player_to_its_frame(browser):
    for frame in (5, 0, 7):
        browser.value(f"{SLIDER}.value = {frame}; {SLIDER}.dispatchEvent(new Event('input'))")
        browser.until(PAUSED)
        assert browser.value(FRAMES) == [frame]
        assert browser.value(f"{GRID}.querySelector('output').textContent") == f"{frame + 1} / 8"


def test_the_keyboard_steps_and_plays(browser):
    browser.value(f"{SLIDER}.value = 2; {SLIDER}.dispatchEvent(new Event('input')); {SLIDER}.focus()")
    browser.press("ArrowRight", 39)
    browser.until(f"{FRAMES}.join() === '3' && {PAUSED}")
    browser.value(f"{PLAY}.focus()")
    browser.call("Input.dispatchKeyEvent", type="keyDown", key="Enter", text="\r", windowsVirtualKeyCode=13)
    browser.until(f"{PLAY}.textContent === 'Pause' && {VIDEOS}.every((v) => !v.paused)")
    browser.value(f"{PLAY}.click()")
    browser.until(PAUSED)


def test_difference_and_slice_take_the_place_of_the_video(browser):
    assert (shown(browser, "canvas"), shown(browser, ".slice")) == (0, 0)
    browser.value(f"{GRID}.querySelector('input[value=difference]').click()")
    pixels = f"{GRID}.querySelector('canvas').getContext('2d').getImageData(0, 0, 128, 128).data"
    browser.until(f"{pixels}.some((v, i) => i % 4 < 3 && v > 0)")
    assert shown(browser, "canvas") == 36
    browser.value(f"{GRID}.querySelector('input[value=slice]').click()")
    assert (shown(browser, "canvas"), shown(browser, ".slice")) == (0, 40)
    assert browser.value(f"[...{GRID}.querySelectorAll('.slice')].every((s) => s.naturalHeight === 8)")
    browser.value(f"{GRID}.querySelector('input[value=video]').click()")


def test_every_video_of_the_page_decodes_silently(browser):
    browser.value("document.querySelectorAll('[data-grid]')[1].scrollIntoView()")
    videos = "[...document.querySelectorAll('video')]"
    browser.until(f"{videos}.every((v) => v.readyState >= 2 && !v.error)")
    assert browser.value(f"{videos}.every((v) => v.muted && v.loop && v.playsInline)")


def test_a_legend_entry_brings_out_its_line_and_only_that(browser):
    browser.value("document.querySelectorAll('[data-lights]')[1].click()")
    figure = "document.querySelector('[data-lights]').closest('figure')"
    assert browser.value(f"{figure}.querySelectorAll('.panels .line.on').length") == 3
    assert browser.value(f"{figure}.querySelectorAll('.panels .line').length") == 24


def test_everything_has_a_name_and_a_hostile_caption_is_text(browser):
    assert browser.value(NAMELESS) == []
    assert browser.value("document.querySelector('.sample p').textContent").startswith("“<script>alert(1)</script>")
    assert browser.value("document.querySelectorAll('script').length") == 1


@pytest.mark.parametrize("dark", [False, True])
@pytest.mark.parametrize("width", [1280, 390])
def test_every_width_and_scheme_fits_and_has_its_colours(browser, run_folder, tmp_path, width, dark):
    browser.open(run_folder / "report.html", width, 900, dark)
    assert browser.value("document.documentElement.scrollWidth") == width
    assert browser.value(WIDE) == []
    with Image.open(browser.picture(tmp_path / "shot.png")) as shot:
        median = ImageStat.Stat(shot.convert("L")).median[0]
    assert shot.size == (width, 900) and (median < 40 if dark else median > 240)


@needs_axe
@pytest.mark.parametrize(("width", "dark"), [(1280, False), (1280, True), (390, False)])
def test_axe_finds_no_grave_fault(browser, rich, width, dark):
    browser.open(rich / "report.html", width, 900, dark)
    browser.value("for (const part of document.querySelectorAll('details')) part.open = true")
    assert faults(browser) == []


@needs_axe
def test_axe_finds_a_fault_that_is_put_in(browser):
    browser.value(
        "document.querySelector('header').append(new Image()); document.querySelector('h1').style.color = '#ddd'"
    )
    assert {fault.split()[0] for fault in faults(browser, "'header'")} == {"image-alt", "color-contrast"}


def test_nothing_went_wrong_and_nothing_was_asked_of_the_network(browser):
    """Last: over all that the tests above did."""
    assert browser.named("Runtime.exceptionThrown") == [] and browser.named("Page.javascriptDialogOpening") == []
    assert [entry["entry"]["text"] for entry in browser.named("Log.entryAdded")] == []
    asked = {request["request"]["url"].split(":")[0] for request in browser.named("Network.requestWillBeSent")}
    assert asked <= {"file", "data"}
