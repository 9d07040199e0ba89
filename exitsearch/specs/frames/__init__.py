"""Documents as tables: for pandas, for a terminal and for a notebook."""
