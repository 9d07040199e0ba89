"""Multiply-accumulates: two counters that must agree, the rules they need, and the counts of a backbone's units."""
