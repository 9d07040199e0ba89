"""Charts: what they hold (`chart.py`), their colours, and how they are drawn in a page and on paper."""
