"""earlyon's own calibrators, over the outputs of all exits on the choice split.

Both are run over a range of targets, with its grid and with 0 added to it (an exit at which everything leaves, without
which no configuration can promise a deadline), with and without the temperatures that it fits. Added to what they find
are the configurations in which every input leaves at one exit, as a user would write them by hand. The share of
operations that it estimates is replaced by the share of the time, so that its compute budget is a time budget.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
from earlyon_thresholds import replaying_model

from peers.asking import Array
from peers.settings import Setting, StageTimes, forced

DROPS = (0.0, 0.005, 0.01, 0.02, 0.03, 0.05, 0.1, 0.2)
SHARES = np.linspace(0.1, 1.0, 13)


def calibrated(outputs: Sequence[Array], labels: Array, times: StageTimes) -> list[Setting]:
    """Different configurations, in the order in which they are found, those of one exit alone first.

    Args:
        outputs: of every exit, the final one last, each [samples, classes].
        labels: [samples].
        times: whose shares of the whole stand for earlyon's of operations.
    """
    import torch
    from earlyon.core import thresholds

    exits = len(outputs) - 1
    shares = [min(1.0, way.median / times.behind_all[-1].median) for way in times.behind_all[:-1]]
    loader = [
        (
            torch.from_numpy(np.concatenate(list(outputs), axis=1).astype(np.float32)),
            torch.from_numpy(labels.astype(np.int64)),
        )
    ]
    model = replaying_model(shares, classes=outputs[0].shape[1])
    fitted = {
        name: fit.temperature
        for name, fit in thresholds.fit_head_temperatures(thresholds.collect_head_logits(model, loader, "cpu")).items()
    }
    found = dict.fromkeys(forced(exits))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # targets out of reach; what was found still counts
        for temperatures in (dict.fromkeys(fitted, 1.0), fitted):
            model.config.temperatures = dict(temperatures)
            own = tuple(temperatures[f"exit{k}"] for k in range(exits))
            for grid in (None, (*thresholds.DEFAULT_GRID, 0.0)):
                results = [
                    *(thresholds.calibrate_thresholds(model, loader, drop, grid=grid) for drop in DROPS),
                    *(
                        thresholds.calibrate_thresholds_for_budget(model, loader, float(share), grid=grid)
                        for share in SHARES
                    ),
                ]
                for result in results:
                    found[Setting(tuple(result.enabled_exits), tuple(map(float, result.thresholds)), own)] = None
    return list(found)
