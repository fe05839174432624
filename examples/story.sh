#!/bin/sh
# A film of four shots with captions: two begin with pictures, one goes on, one is drawn from its text.
# From the root of the repository: sh examples/story.sh [OUT]
set -e
python=.venv/bin/python
[ -x "$python" ] || python=python3
"$python" -m bench story examples/story/script.yaml --out "${1:-runs/examples/story}"
