"""How fast are the metrics, beside other ways to the same numbers? `python -m bench.metrics.speed` prints the table.

Every row is measured here and now: the ways take turns, and the least time of each counts, so a busy machine slows all
alike. Times are processor seconds with one thread; with `--threads N`, seconds by the clock. What is compared with
libraries that are not installed is left out, with the command that installs them.
"""

from __future__ import annotations

import argparse
import os
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # nothing heavy before the threads are fixed
    import numpy as np
    from numpy.typing import NDArray
    from torch import nn

    from bench.metrics.statistics import Array

VIDEOS, FEATURES = 2048, 400
REFITS = 4  # of the refits that an interval saves: timed and compared
Way = Callable[[], "float | Array"]


@dataclass
class Race:
    """Ways to one answer. `ours` comes first; `work` is what a way does once, `unit` says of what."""

    name: str
    ours: Way
    others: dict[str, Way]
    work: int = 1
    unit: str = "seconds"
    shares: dict[str, float] = field(default_factory=dict)  # way -> the share of the work that it does, if not all
    missing: dict[str, str] = field(default_factory=dict)  # way -> how to install it
    times: dict[str, float] = field(default_factory=dict)
    answers: dict[str, float | Array] = field(default_factory=dict)

    def run(self, repeats: int, clock: Callable[[], float]) -> None:
        """Each way in turn, `repeats` times."""
        for _ in range(repeats):
            for name, way in {"ours": self.ours, **self.others}.items():
                start = clock()
                self.answers[name] = way()
                seconds = (clock() - start) / self.shares.get(name, 1.0)
                self.times[name] = min(seconds, self.times.get(name, float("inf")))

    def rows(self) -> list[str]:
        """Lines of a Markdown table: what, way, time or rate, ratio to ours, how far the answers lie apart."""
        lines = []
        for name, seconds in self.times.items():
            shown = f"{self.work / seconds:.2f} {self.unit}" if self.work > 1 else f"{seconds:.3f} s"
            ratio = seconds / self.times["ours"]
            lines.append(f"| {self.name} | {name} | {shown} | {ratio:.2f} | {self._apart(name)} |")
        return lines + [f"| {self.name} | {name} | {how} | | |" for name, how in self.missing.items()]

    def _apart(self, name: str) -> str:
        import numpy as np

        if name == "ours":
            return ""
        mine, other = np.asarray(self.answers["ours"]), np.asarray(self.answers[name])
        gap = np.abs(mine - other).max()
        return f"{gap / max(np.abs(mine).max(), 1e-300):.0e}"


def main() -> None:
    """Reads the options, fixes the threads, prints the table."""
    parser = argparse.ArgumentParser(prog="python -m bench.metrics.speed", description=__doc__)
    parser.add_argument("--threads", type=int, default=1, help="threads, N >= 1 [1]")
    parser.add_argument("--repeats", type=int, default=3, help="times each way is run, N >= 1 [3]")
    parser.add_argument(
        "--clips", type=int, default=16, help="clips of 16 frames, 256 x 256, for I3D; 0: leave it out [16]"
    )
    options = parser.parse_args()
    if min(options.threads, options.repeats) < 1 or options.clips < 0:
        parser.error("--threads and --repeats must be 1 or more, --clips 0 or more")
    fix_threads(options.threads)
    clock = time.process_time if options.threads == 1 else time.perf_counter
    print(f"{options.threads} thread(s), least of {options.repeats}", flush=True)
    print("| what | way | time | times ours | apart |\n|---|---|---|---|---|", flush=True)
    makers: list[Callable[[], Race]] = [frechet_race, kernel_race, interval_race]
    if options.clips:
        makers.append(partial(extraction_race, options.clips))
    for make in makers:
        race = make()
        race.run(options.repeats, clock)
        print("\n".join(race.rows()), flush=True)


def fix_threads(count: int) -> None:
    """Threads of NumPy's and torch's libraries; before either is imported."""
    for name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"):
        os.environ[name] = str(count)


def features(seed: int) -> Array:
    """(VIDEOS, FEATURES), 16 strong factors and noise, about as video features are."""
    import numpy as np

    rng, weights = np.random.default_rng(seed), np.random.default_rng(100).normal(size=(16, FEATURES))
    return np.asarray(2 * rng.normal(size=(VIDEOS, 16)) @ weights + rng.normal(size=(VIDEOS, FEATURES)))


# ---- FVD ----


def frechet_race() -> Race:
    """From features to the distance."""
    from bench.metrics.frechet import frechet_from_features
    from bench.metrics.roots import by_sqrtm

    x, y = features(0), features(1)
    race = Race(
        "FVD, N = 2048, D = 400", lambda: frechet_from_features(x, y), {"scipy sqrtm": lambda: by_sqrtm(x, y, 1)}
    )
    try:
        import torch
        from torchmetrics.image.fid import _compute_fid  # type: ignore[import-not-found]
    except ImportError:
        race.missing["torchmetrics"] = "pip install torchmetrics"
        return race

    def theirs() -> float:
        a, b = torch.from_numpy(x), torch.from_numpy(y)
        return float(_compute_fid(a.mean(0), torch.cov(a.T), b.mean(0), torch.cov(b.T)))

    race.others["torchmetrics"] = theirs
    return race


def kernel_race() -> Race:
    """From features to KVD."""
    from bench.metrics.kernel import kernel_distance

    x, y = features(0), features(1)
    race = Race(
        "KVD, 2048 x 2048", lambda: kernel_distance(x, y), {"whole matrices, NumPy": lambda: whole(x, y, _cubic)}
    )
    try:
        from sklearn.metrics.pairwise import polynomial_kernel  # type: ignore[import-not-found]

        race.others["whole matrices, scikit-learn"] = lambda: whole(x, y, polynomial_kernel)
    except ImportError:
        race.missing["scikit-learn"] = "pip install scikit-learn"
    return race


def _cubic(x: Array, y: Array) -> Array:
    return (x @ y.T / x.shape[1] + 1.0) ** 3


def whole(x: Array, y: Array, kernel: Callable[[Array, Array], Array]) -> float:
    """The unbiased estimate as it is written down: three whole kernel matrices."""
    import numpy as np

    n, m = len(x), len(y)
    xx, yy, xy = kernel(x, x), kernel(y, y), kernel(x, y)
    within = (xx.sum() - np.trace(xx)) / (n * (n - 1)) + (yy.sum() - np.trace(yy)) / (m * (m - 1))
    return float(within - 2 * xy.mean())


def interval_race() -> Race:
    """Value and interval, second-order part included, against refitting without each video and pair of videos."""
    import numpy as np

    from bench.metrics.features import Sample
    from bench.metrics.frechet import frechet_from_features
    from bench.metrics.uncertainty import PAIRS, Units, estimate, over_videos

    x, y = features(0), features(1)
    ids, none = tuple(map(str, range(VIDEOS))), (None,) * VIDEOS
    made, real = (Sample(rows, np.zeros((VIDEOS, 1)), ids, none) for rows in (x, y))
    first = [int(name.removeprefix("video ")) for name in Units(made, real).names[:REFITS]]

    def ours() -> Array:
        found = estimate("fvd", made, real)
        over_videos(found)
        assert found.influence is not None
        return np.diff(found.influence[:REFITS])  # of neighbours: influences are told from their mean

    def refits() -> Array:
        value = frechet_from_features(x, y)
        without = [frechet_from_features(np.delete(x, row, 0), np.delete(y, row, 0)) for row in first]
        return np.diff(value - np.array(without)) * (1 - 1 / VIDEOS) ** 0.5

    name, way = f"FVD interval, N = {VIDEOS}, D = {FEATURES}", f"refits ({REFITS} timed)"
    return Race(name, ours, {way: refits}, shares={way: (REFITS + 1) / (1 + VIDEOS + PAIRS)})


# ---- features ----


def extraction_race(count: int) -> Race:
    """From clips to I3D's logits; the weights are random: they do not matter to speed."""
    import numpy as np
    import torch

    from bench.metrics.extractors import VideoNetwork, shown
    from bench.metrics.i3d import I3D, SIZE

    torch.manual_seed(0)
    net = I3D(1e-5).eval()
    clips = np.random.default_rng(0).integers(0, 256, (count, 16, 256, 256, 3), dtype=np.uint8)
    fast = VideoNetwork("i3d-k400", I3D(1e-5).eval(), shown("direct_bilinear", SIZE), 1)
    fast.net.load_state_dict(net.state_dict())
    fast.net.to(memory_format=torch.channels_last_3d)
    others: dict[str, Way] = {"cd-fvd's loop": lambda: loop(clips, net)}
    return Race("I3D, 16 x 256 x 256", lambda: fast.features(clips), others, count, "clips/s")


def loop(clips: NDArray[np.uint8], net: nn.Module, batch: int = 16) -> Array:
    """Features as cd-fvd takes them: 16 clips at a time, all frames as one float array, resized, then the network.

    Written anew after that package's `preprocess_i3d` and `get_i3d_logits`, its sums for mean and covariance included.
    """
    import numpy as np
    import torch
    import torch.nn.functional as F

    found, total, square = [], 0.0, 0.0
    for start in range(0, len(clips), batch):
        part = clips[start : start + batch]
        frames = torch.FloatTensor(part).flatten(end_dim=1).permute(0, 3, 1, 2).contiguous()
        small = F.interpolate(frames, size=(224, 224), mode="bilinear", align_corners=False)
        shaped = small.view(*part.shape[:2], 3, 224, 224).transpose(1, 2).contiguous()
        with torch.no_grad():
            rows = net(2.0 * shaped / 255.0 - 1).numpy()
        found.append(rows)
        total, square = total + rows.sum(axis=0), square + rows.astype(np.float64).T @ rows.astype(np.float64)
    return np.asarray(np.concatenate(found))


if __name__ == "__main__":
    main()
