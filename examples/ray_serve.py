"""The same bundle on more than one machine: a deployment of Ray Serve, which starts and stops replicas with the load.

    pip install 'ray[serve]' 'exitsearch[serve]'
    BUNDLE=/path/of/BUNDLE serve run examples.ray_serve:deployment
    curl -H 'X-Budget-Ms: 25' -F image=@cat.jpg http://127.0.0.1:8000/predict

Each replica is the application of `exitsearch serve`, with its own workers, its own line and its own slow-down, and
refuses what it cannot answer in time; Ray adds a proxy that hands requests to the replica with the fewest. The way
through the proxy is not seen by the replica, and the body comes to it piece by piece: with Ray 2.60 on two busy cores a
request took 170 to 330 ms, 90 to 150 of them within the replica, where the server alone took 4 to 9. So budgets of tens
of milliseconds are for the server itself; Ray is for many machines and lenient budgets. The bundle must lie at the same
path on every machine. `/metrics` and `/bundle` are those of the replica that happens to answer; Ray's own dashboard has
them by replica.
"""

from __future__ import annotations

import os
from typing import Any

from ray import serve

from exitsearch.serving import create_app
from exitsearch.serving.bounds import Bounds


def make_deployment(bundle: str, *, replicas: int = 1, workers: int = 1, queue: int = 16) -> Any:
    """A deployment of Ray Serve.

    Args:
        bundle: a folder, at this path on every machine.
        replicas: processes, each with all of the bundle's weights.
        workers: of each; as many processors are reserved.
        queue: of each.
    """
    bounds = Bounds(workers=workers, queue=queue)

    # An application holds threads and sessions, which do not travel: each replica makes its own. More requests than
    # this a replica are held back by Ray, where nobody would refuse them.
    @serve.deployment(
        num_replicas=replicas,
        max_ongoing_requests=bounds.connections,
        ray_actor_options={"num_cpus": workers},
    )
    @serve.ingress(lambda: create_app(bundle, bounds=bounds))
    class Replica:
        pass

    return Replica.bind()


if os.environ.get("BUNDLE"):
    deployment = make_deployment(os.environ["BUNDLE"])
