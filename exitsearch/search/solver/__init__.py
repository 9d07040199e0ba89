"""The exact solver: the best choice of a problem, and the proof that none is better. `solve` is the door."""

from exitsearch.search.solver.exact import TOLERANCE, Solution, solve

__all__ = ["TOLERANCE", "Solution", "solve"]
