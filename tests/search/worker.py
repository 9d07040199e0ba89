"""One of several processes that work on one study: `python worker.py STORAGE TRIALS`."""

from __future__ import annotations

import sys
from dataclasses import replace

from random_problems import random_problem

from exitsearch.search.exact import solve
from exitsearch.search.study import run_study

if __name__ == "__main__":
    problem = replace(random_problem(10, policy="interruptible"), max_exits=None)
    run_study(problem, trials=int(sys.argv[2]), seed=3, storage=sys.argv[1], first=solve(problem).choice)
