"""The former home and names of utilities, which programs may still import."""

from exitsearch.search.utility import Utility as Worth
from exitsearch.search.utility import load_class_weights
from exitsearch.search.utility import load_utility as load_worth

__all__ = ["Worth", "load_class_weights", "load_worth"]
