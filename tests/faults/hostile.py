"""Files that mean harm, by what they try: specs, lists, archives, checkpoints; and mutations of sound ones."""

from __future__ import annotations

import io
import json
import os
import pickle
import struct
import zipfile
from pathlib import Path

from hypothesis import strategies as st

ROOT = Path(__file__).resolve().parents[2]
SPEC = (ROOT / "ablations" / "dual_stream.yaml").read_text(encoding="utf-8")
PROFILE = (ROOT / "ablations" / "profiles" / "smoke.yaml").read_text(encoding="utf-8")
WEBVID = "videoid,name,page_dir,duration,contentUrl\n1,a cat,p,PT00H00M10S,\n2,a dog,p,PT00H01M00S,x\n"
JSFUSION = "key,vid_key,video_id,sentence\nret0,msr1,video7010,a cat\nret1,msr2,video7011,a dog\n"
CAPTIONS = "id,prompt\na,a cat runs\nb,a dog sits\n"
MSRVTT = json.dumps(
    {
        "info": {"year": "2016"},
        "videos": [{"video_id": "video7010", "split": "test", "url": "http://x", "category": 3}],
        "sentences": [{"video_id": "video7010", "caption": "a cat", "sen_id": 1}],
    }
)
LIST = "ApplyEyeMakeup/v_ApplyEyeMakeup_g01_c01.avi 1\r\nBiking/v_Biking_g05_c02.avi 11\r\n"
GOOD_SPEC = """\
question: What?
source: "a paper"
variants:
  full: {label: "Full"}
  no_ctx: {label: "w/o ctx", model.context: none}
expect:
  - {claim: "it matters", metric: fvd, better: [full, no_ctx]}
"""

SPECS: dict[str, bytes] = {  # what it tries -> the file
    "alias bomb": b"a: &a [x, x]\nb: &b [*a, *a, *a]\nc: [*b, *b, *b]\n",
    "merge key": b"variants: {a: &a {label: x}, b: {<<: *a}}\n",
    "10 MB scalar": b"question: " + b"x" * 10_000_000,
    "nested 5000 deep": b"a: " + b"[" * 5000 + b"]" * 5000,
    "5000 nested mappings": b"{a: " * 5000 + b"1" + b"}" * 5000,
    "duplicate key": GOOD_SPEC.replace("  no_ctx:", "  full:").encode(),
    "python object": GOOD_SPEC.replace('"Full"', "!!python/object/apply:os.system ['touch pwned']").encode(),
    "python name": GOOD_SPEC.replace('"Full"', "!!python/name:os.system").encode(),
    "own tag": GOOD_SPEC.replace('"Full"', "!exec x").encode(),
    "binary": GOOD_SPEC.replace('"Full"', "!!binary aGVsbG8=").encode(),
    "set": GOOD_SPEC.replace("[full, no_ctx]", "!!set {full, no_ctx}").encode(),
    "not UTF-8": b"\xff\xfeq\x00",
    "UTF-16": GOOD_SPEC.encode("utf-16"),
    "NUL": b"question: a\x00b\n",
    "a number of 5000 digits": GOOD_SPEC.replace('"Full"', "9" * 5000).encode(),
    "1e999": GOOD_SPEC.replace('"Full"', "1.0e+999").encode(),
    "not a number": GOOD_SPEC.replace('"Full"', ".nan").encode(),
    "a key of a megabyte": b'"' + b"k" * 1_000_000 + b'": 1\n',
    "line breaks in a key": GOOD_SPEC.replace("  full:", '  "fu\\nll\\e[31m":').encode(),
    "another file's path": GOOD_SPEC.replace("source:", "include: ../../etc/passwd\nsource:").encode(),
    "a path as variant": GOOD_SPEC.replace("  full:", "  ../../up:").encode(),
    "markup as variant": GOOD_SPEC.replace("  full:", "  <script>:").encode(),
    "two documents": (GOOD_SPEC + "---\n" + GOOD_SPEC).encode(),
    "a list as key": b"? [a, b]\n: 1\n",
    "no mapping": b"- 1\n",
    "empty": b"",
    "nothing but a comment": b"# nothing\n",
    "directive": b"%YAML 9.9\n---\na: 1\n",
}

TOKENS = [
    "&a ", "*a", "<<: *a", "!!python/object:os.system", "!!binary ", "!", "? ", ": ", "- ", "[", "]", "{", "}",
    "'", "\"", "|", ">", "---\n", "...\n", "%TAG ! tag:x,2000:\n", "\t", "\n", "\r", "#", "no", "0o7", "0x1F",
    "1_000", "12:30:45", "2001-01-01", ".inf", ".nan", "~", "1e9", "9" * 400, "../../etc/passwd", "/dev/zero",
    "\u2028", "\ufeff", "\u0085", "\u00e9", "\U0001f600", "model.context: none", "label: ", "better: [full]",
    "variants:", "expect:", "seeds: [0, 0]", "steps: -1", ",", ";", "=cmd|' /C calc'!A0", "\u0000", "\u001b[31m",
    "<script>", "{{7*7}}", "\\ud800", "$(id)", "%s%n", "a" * 300,
]  # fmt: skip


@st.composite
def mutated(draw: st.DrawFn, sound: str) -> bytes:
    """A sound file with a few pieces cut, doubled, replaced by tokens or by bytes."""
    data = sound.encode("utf-8")
    for _ in range(draw(st.integers(1, 5))):
        at = draw(st.integers(0, len(data)))
        end = min(len(data), at + draw(st.sampled_from([0, 0, 1, 3, 20, 200])))
        piece = draw(
            st.one_of(
                st.sampled_from(TOKENS).map(lambda token: token.encode("utf-8", "surrogatepass")),
                st.binary(max_size=4),
                st.just(data[at:end] * 2),
                st.text(max_size=6).map(lambda text: text.encode("utf-8", "surrogatepass")),
            )
        )
        data = data[:at] + piece + data[end:]
    return data


def soup(sound: str) -> st.SearchStrategy[bytes]:
    """Mutations of a sound file, and pieces of the language in no order at all."""
    words = st.lists(st.sampled_from([*TOKENS, *sound.split()]), max_size=40).map(
        lambda parts: " ".join(parts).encode("utf-8", "surrogatepass")
    )
    return st.one_of(mutated(sound), mutated(sound), words, st.binary(max_size=200))


# ---- archives ----


def archive(entries: dict[str, bytes]) -> bytes:
    """A zip file."""
    whole = io.BytesIO()
    with zipfile.ZipFile(whole, "w", zipfile.ZIP_DEFLATED) as out:
        for name, data in entries.items():
            out.writestr(name, data)
    return whole.getvalue()


NAME = "train_val_videodatainfo.json"
ARCHIVES: dict[str, bytes] = {
    "members that climb out": archive({f"../../{NAME}": MSRVTT.encode(), "/etc/passwd": b"x", "..\\up.txt": b"x"}),
    "a bomb: 600 MB in 600 kB": archive({NAME: b" " * (600 * 2**20)}) if os.environ.get("FAULTS_FULL") else b"",
    "not a zip": b"PK\x03\x04" + b"\0" * 40,
    "cut short": archive({NAME: MSRVTT.encode() * 20})[:-30],
    "damaged inside": archive({NAME: MSRVTT.encode() * 20}).replace(b"\x08\x00", b"\x63\x00"),
}


# ---- checkpoints ----


class Attack:
    """Unpickling it runs a command."""

    def __init__(self, sentinel: Path) -> None:
        self.sentinel = sentinel

    def __reduce__(self) -> tuple[object, tuple[str]]:
        return os.system, (f"touch '{self.sentinel}'",)


def pickles(sentinel: Path) -> dict[str, bytes]:
    """Checkpoints that would make the file `sentinel` if anything in them were run."""
    import torch

    attack, zipped = Attack(sentinel), io.BytesIO()
    torch.save({"state_dict": {"w": torch.zeros(2)}, "callbacks": attack}, zipped)
    old = io.BytesIO()
    torch.save({"w": attack}, old, _use_new_zipfile_serialization=False)
    return {
        "an object beside the state dict": zipped.getvalue(),
        "the format before zip files": old.getvalue(),
        "a bare pickle": pickle.dumps(attack),
        "a pickle named safetensors": pickle.dumps({"w": attack}),
    }


def header(length: int, text: bytes = b"{}", data: bytes = b"") -> bytes:
    """A safetensors file whose first bytes state `length` for its header."""
    return struct.pack("<Q", length) + text + data


def _tensor(**changes: object) -> bytes:
    told = {"dtype": "F32", "shape": [2], "data_offsets": [0, 8], **changes}
    text = json.dumps({"w": told}).encode()
    return header(len(text), text, b"\0" * 8)


TENSORS: dict[str, bytes] = {
    "empty": b"",
    "a header of 2^63 bytes": header(2**63),
    "a header of 100 MB": header(100 * 2**20),
    "a header longer than the file": header(1000),
    "a header that is no JSON": header(4, b"{{{{"),
    "a header that is a list": header(2, b"[]"),
    "nested 20000 deep": header(40000, b"[" * 20000 + b"]" * 20000),
    "offsets beyond the end": _tensor(data_offsets=[0, 10**9]),
    "offsets that go backwards": _tensor(data_offsets=[8, 0]),
    "negative offsets": _tensor(data_offsets=[-8, 0]),
    "a shape of 2^60": _tensor(shape=[2**60]),
    "a shape whose product overflows": _tensor(shape=[2**33, 2**33]),
    "an unknown type": _tensor(dtype="F31"),
    "two tensors in one place": (lambda text: header(len(text), text, b"\0" * 8))(
        b'{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"b":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}}'
    ),
}
