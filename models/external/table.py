"""Which systems can be sampled here through diffusers? A name, an adapter."""

from models.external import cogvideox, i2vgen_xl, ltx, svd, wan
from models.external.adapter import Adapter

ADAPTERS: dict[str, Adapter] = {
    one.name: one for one in (i2vgen_xl.ADAPTER, svd.ADAPTER, cogvideox.ADAPTER, wan.ADAPTER, ltx.ADAPTER)
}
