"""How is Wan asked to animate a picture?

Makes 4k+1 frames, in sizes of 16 pixels' steps; the autoencoder of Wan 2.2's 5B model needs steps of 32.
Source: Wan, arXiv:2503.20314; `WanImageToVideoPipeline` of diffusers and its defaults.
"""

from collections.abc import Mapping
from dataclasses import replace

from models.external.adapter import Adapter, Json
from models.external.rules import Rules


def of_folder(rules: Rules, configs: Mapping[str, Json]) -> Rules:
    """The size's step of a checkpoint: pixels of one latent site times sites of one patch."""
    site, patch = configs.get("vae", {}).get("scale_factor_spatial"), configs.get("transformer", {}).get("patch_size")
    if not isinstance(site, int) or not isinstance(patch, list) or not patch or not isinstance(patch[-1], int):
        return rules
    return replace(rules, size_step=max(rules.size_step, site * patch[-1]))


ADAPTER = Adapter(
    name="wan",
    label="Wan",
    pipeline="WanImageToVideoPipeline",
    rules=Rules(own_size=(480, 832), own_fps=16, frame_step=4, size_step=16),
    steps=50,
    tokens=512,
    words={"guidance_scale": 5.0},
    notes=("no negative prompt: the authors' own examples give a long one",),
    of_folder=of_folder,
)
