"""How do values get onto a page safely? jinja2 with escaping on, for HTML and for Markdown.

Captions and names are hostile input: in HTML they are escaped, in Markdown they lose every power. A page carries a
policy that forbids every request; its style and script are allowed by their hash.
"""

from __future__ import annotations

import base64
import hashlib
import re
from collections.abc import Mapping, Sequence
from functools import lru_cache
from pathlib import Path

import jinja2
from markupsafe import Markup, escape

from reports.figures import colours
from reports.spreadsheet import data_link

TEMPLATES = Path(__file__).with_name("templates")


def page(template: str, context: Mapping[str, object], styles: Sequence[str], script: str) -> str:
    """An HTML page of the named template with its style and script inside; nothing else may run or load."""
    style = "\n".join(source(name) for name in styles)
    code = source(script)
    policy = (
        f"default-src 'none'; img-src data:; media-src data:; style-src {digest(style)}; "
        f"script-src {digest(code)}; base-uri 'none'; form-action 'none'"
    )
    made = environment().get_template(template)
    return made.render(**context, style=Markup(style), script=Markup(code), policy=policy) + "\n"


def source(name: str) -> str:
    """The text of a file of the templates folder."""
    return (TEMPLATES / name).read_text(encoding="utf-8")


def digest(text: str) -> str:
    """How a content security policy names an inline style or script."""
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode('utf-8')).digest()).decode('ascii')}'"


@lru_cache(maxsize=2)
def environment(**options: object) -> jinja2.Environment:
    """The templates with their filters; `finalize` for Markdown."""
    made = jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.ChainableUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        **options,  # type: ignore[arg-type]  # jinja2 types each option apart
    )
    made.filters |= {"csv_link": data_link, "short": _short, "point": _point, "pre": escape, "fixed": Markup}
    made.globals |= {"colours": colours}
    return made


def _short(value: object) -> str:
    """First twelve digits of a fingerprint."""
    return str(value)[:12]


def _point(value: float, low: float, high: float, width: float) -> float:
    """Where a value falls on a strip of `width` pixels with 4 pixels of margin."""
    return round(4 + (value - low) / (high - low) * (width - 8), 1) if high > low else width / 2


_SPECIAL = re.compile(r"([\\`*_{}\[\]()#+.!|~$-])")


def escape_markdown(value: object) -> object:
    """What a template prints into Markdown: text without any power there; Markup passes as it is.

    HTML is escaped first, then every character that Markdown reads; addresses do not become links, mentions
    do not reach anyone, and line breaks turn into spaces so that a table row stays a row.
    """
    if isinstance(value, Markup) or value is None or not isinstance(value, str):
        return value
    plain = str(escape(" ".join(value.split())))
    quiet = plain.replace("://", "&#58;//").replace("@", "&#64;").replace("www.", "www&#46;")
    return Markup(re.sub(r"(&#?\w+;)|" + _SPECIAL.pattern, _escape_one, quiet))


def _escape_one(found: re.Match[str]) -> str:
    return found.group(1) or "\\" + found.group(2)
