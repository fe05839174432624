#!/bin/sh
# A clip from one picture to another: both are shown to the model.
# From the root of the repository: sh examples/interpolate.sh [OUT]
set -e
python=.venv/bin/python
[ -x "$python" ] || python=python3
"$python" -m bench animate examples/pictures/first.png --end-image examples/pictures/last.png \
  --prompt "a red circle moving right" --out "${1:-runs/examples/interpolate.gif}"
