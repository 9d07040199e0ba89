"""The documents that pass between the steps: plain data, no torch."""

from exitsearch.specs.backbone import BackboneFacts
from exitsearch.specs.budget import BudgetDistribution, parse_budget
from exitsearch.specs.config import MultiExitConfig
from exitsearch.specs.head import HeadChoice
from exitsearch.specs.load import load_config, load_outcomes, load_profile, load_space
from exitsearch.specs.outcomes import Outcomes
from exitsearch.specs.placement import Placement
from exitsearch.specs.profile import Profile
from exitsearch.specs.question.space import SearchSpace

__all__ = [
    "BackboneFacts",
    "BudgetDistribution",
    "HeadChoice",
    "MultiExitConfig",
    "Outcomes",
    "Placement",
    "Profile",
    "SearchSpace",
    "load_config",
    "load_outcomes",
    "load_profile",
    "load_space",
    "parse_budget",
]
