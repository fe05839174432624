"""How is LTX-Video asked to animate a picture?

Makes 8k+1 frames, in sizes of 32 pixels' steps.
Source: LTX-Video, arXiv:2501.00103; `LTXImageToVideoPipeline` of diffusers and its defaults.
"""

from models.external.adapter import Adapter
from models.external.rules import Rules

ADAPTER = Adapter(
    name="ltx",
    label="LTX-Video",
    pipeline="LTXImageToVideoPipeline",
    rules=Rules(own_size=(512, 704), own_fps=25, frame_step=8, size_step=32, told_rate=True),
    steps=50,
    tokens=128,
    words={"guidance_scale": 3.0},
    rate="frame_rate",
)
