"""One of several processes that work on one study: `python worker.py STORAGE TRIALS`."""

from __future__ import annotations

import sys
from dataclasses import replace

from random_problems import random_problem

from exitsearch.search.solver.exact import solve
from exitsearch.search.study import run_study, shared

if __name__ == "__main__":
    shared.PATIENCE_S = 0.5  # trials take milliseconds here, and a wrong guess costs only one
    problem = replace(random_problem(10, policy="interruptible"), max_exits=None)
    run_study(problem, trials=int(sys.argv[2]), seed=3, storage=sys.argv[1], first=solve(problem).choice)
