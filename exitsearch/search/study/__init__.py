"""Optuna's part of the search. The only folder that imports optuna.

Several processes may work on one study (`--storage`). The storage hands out the trials' numbers; a trial's random
numbers come from the seed and its number alone, so none is drawn twice; number 0 is the solver's choice; and a study
gets exactly as many finished trials as asked for (`shared.py`), what a killed process leaves unfinished made up for.
"""

from exitsearch.search.study.exits import OnTrial, StudyResult, run_study, study_name

__all__ = ["OnTrial", "StudyResult", "run_study", "study_name"]
