"""How is I2VGen-XL asked for a clip?

Source: I2VGen-XL, arXiv:2311.04145; `I2VGenXLPipeline` of diffusers, whose defaults of steps and guidance are kept.
"""

from models.external.adapter import Adapter
from models.external.rules import Rules

ADAPTER = Adapter(
    name="i2vgen-xl",
    label="I2VGen-XL",
    pipeline="I2VGenXLPipeline",
    rules=Rules(own_size=(704, 1280), own_fps=16, told_rate=True),
    steps=50,
    words={"guidance_scale": 9.0, "clip_skip": None},  # the default of 1 fails in the text encoders of transformers 5
    rate="target_fps",
    notes=(
        "clip_skip is None: the text condition is the encoder's last layer, where the pipeline's default takes the "
        "last but one",
    ),
)
