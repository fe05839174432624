#!/bin/sh
# A clip that ends as it begins: the first picture is shown to the model as the last one too.
# From the root of the repository: sh examples/loop.sh [OUT]
set -e
python=.venv/bin/python
[ -x "$python" ] || python=python3
"$python" -m bench animate examples/pictures/first.png --prompt "a red circle is shrinking smaller" \
  --loop --out "${1:-runs/examples/loop.gif}"
