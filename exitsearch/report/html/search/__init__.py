"""The report of a search: what was chosen and what it is worth, how sure that is, and how to repeat it."""
