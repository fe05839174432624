"""The page and its Markdown twin say the same: every text of the page is found in the twin, tables row by row."""

import re
from html import unescape
from html.parser import HTMLParser
from pathlib import Path

import pytest

WHOLE = {"p", "li", "td", "th", "h1", "h2", "h3", "h4", "dt", "dd", "summary", "figcaption", "pre"}
SPANS = {"effect", "rest", "verdict"}  # classes whose elements count as texts too
SILENT = {"nav", "svg", "script", "style", "fieldset", "label", "output", "button", "title"}
VOID = {"meta", "link", "img", "input", "br", "wbr", "line", "circle", "polyline", "polygon"}


class Texts(HTMLParser):
    """The text of every element that says something; parts for the page alone (`data-page`) are left out."""

    def __init__(self, source: str) -> None:
        super().__init__()
        self.found: list[str] = []
        self._open: list[tuple[str, list[str] | None, bool]] = []  # tag, text, silent
        self.feed(source)

    def handle_starttag(self, tag, attrs):
        if tag in VOID:
            return
        given = dict(attrs)
        css = set((given.get("class") or "").split())
        silent = tag in SILENT or "data-page" in given or bool(css & {"data", "hidden", "legend"})
        silent = silent or (bool(self._open) and self._open[-1][2])
        says = not silent and (tag in WHOLE or (tag == "span" and bool(css & SPANS)))
        self._open.append((tag, [] if says else None, silent))

    def handle_endtag(self, tag):
        if tag in VOID:
            return
        opened, text, _ = self._open.pop()
        assert opened == tag, (opened, tag)
        if text is not None and plain("".join(text)):
            self.found.append(plain("".join(text)))

    def handle_data(self, data):
        if self._open and self._open[-1][2]:
            return
        for _, text, _ in self._open:
            if text is not None:
                text.append(data)


def plain(text: str) -> str:
    return " ".join(text.split())


def bare(twin: str) -> str:
    """Markdown without its marks: the words alone; what is in <pre> stays as it is."""
    parts = re.split(r"(<pre>.*?</pre>)", twin, flags=re.S)
    return plain(" ".join(unescape(part[5:-6]) if part.startswith("<pre>") else _bare(part) for part in parts))


def _bare(twin: str) -> str:
    text = re.sub(r"</?(?:sup|pre|details|summary)\b[^>]*>", "", twin)
    text = re.sub(r"!?\[([^\]\\]*)\]\([^)]*\)", r"\1", text)
    text = re.sub(r"\\(.)", r"\1", re.sub(r"(?<!\\)\*+", "", text))
    return plain(unescape(re.sub(r"(?m)^(#+|-|\d+\.) ", "", text)))


def both(folder: Path) -> tuple[str, str]:
    return tuple((folder / name).read_text(encoding="utf-8") for name in ("report.html", "report.md"))  # type: ignore[return-value]


def test_the_reader_of_texts_sees_what_a_reader_sees():
    page = "<p>a <b>b</b><span class=hidden> no</span></p><nav><p>no</p></nav><p data-page>no</p><td>1<sup>2</sup></td>"
    assert Texts(page).found == ["a b", "12"]
    assert bare("| **a** \\| b<sup>1</sup> |\n\n- x\\.y [CSV](f.csv)") == "| a | b1 | x.y CSV"


@pytest.mark.parametrize("folder", ["run_folder", "rich"])
def test_the_twin_says_everything_that_the_page_says(folder, request):
    page, twin = both(request.getfixturevalue(folder))
    said, words = bare(twin), Texts(page).found
    assert len(words) > 700
    missing = [text for text in dict.fromkeys(words) if text not in said]
    assert missing == []


def test_every_row_of_a_table_is_a_row_of_the_twin(rich):
    page, twin = both(rich)
    rows = {bare(line).strip("| ") for line in twin.split("\n") if line.startswith("|")}
    tables = re.findall(r"<tbody>(.*?)</tbody>", page, re.S)
    checked = 0
    for body in tables:
        for row in re.findall(r"<tr(?: class=\"[^\"]*\")?>(.*?)</tr>", body, re.S):
            cells = [Texts(cell).found for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.S)]
            texts = [found[-1] for found in cells if found]
            if len(texts) > 1 and not any(all(text in other for text in texts) for other in rows):
                pytest.fail(f"no row of the twin has {texts}")
            checked += 1
    assert checked > 100


def test_images_and_data_of_the_twin_are_there(rich):
    _, twin = both(rich)
    named = re.findall(r"\]\((report_files/[^)]+)\)", twin)
    assert len(named) == len(set(named)) and all((rich / name).is_file() for name in named)
    left = {f"report_files/{path.name}" for path in (rich / "report_files").iterdir()} - set(named)
    assert left == set()
    kinds = {Path(name).suffix for name in named}
    assert kinds == {".svg", ".csv", ".gif", ".png"}
    assert twin.count("](") == len(named), "a link leads elsewhere"


def test_tables_of_the_twin_are_whole(rich):
    """Every table has its rule line, and every row as many cells as its head: code hosts drop the rest."""
    blocks = re.findall(r"(?:^\|.*\n?)+", both(rich)[1], re.M)
    assert len(blocks) > 12
    for block in blocks:
        lines = block.strip().split("\n")
        counts = {len(re.findall(r"(?<!\\)\|", line)) for line in lines}
        assert len(counts) == 1 and re.fullmatch(r"\|(---\|)+", lines[1]), block[:300]


def test_lists_of_the_twin_have_a_line_for_each_entry(rich):
    twin = both(rich)[1]
    assert len(re.findall(r"^\d\. “.*” v\\_", twin, re.M)) == 8
    assert len(re.findall(r"^\| \d \| \S+ \| [01]\\\.\d+ ", twin, re.M)) == 9  # layers, with their λ


def test_folded_parts_of_the_twin_are_closed_and_hold_markdown(rich):
    twin = both(rich)[1]
    assert twin.count("<details") == twin.count("</details>") > 5
    assert all(re.match(r"<details ?(open)? ?><summary>[^\n]*</summary>\n\n", twin[m.start() :]) for m in
               re.finditer("<details", twin))  # fmt: skip
