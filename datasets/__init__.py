"""Files -> clips, captions and splits; the procedural world.

Hugging Face's package has the same name: run from the repository's root (`python -m bench`), where this one
is found first. `IS_I2V_BENCH` marks ours.
"""

IS_I2V_BENCH = True
