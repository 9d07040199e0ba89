"""Optuna's part of the search. The only folder that imports optuna.

Several processes may work on one study (`--storage`). Nothing needs to be agreed on between them: the storage hands out
the trials' numbers, a trial's random numbers come from the seed and its number alone, number 0 is the solver's choice,
and only finished trials count. So none is drawn twice, and what a killed process leaves unfinished, others make up for.
"""

from exitsearch.search.study.exits import OnTrial, StudyResult, run_study, study_name

__all__ = ["OnTrial", "StudyResult", "run_study", "study_name"]
