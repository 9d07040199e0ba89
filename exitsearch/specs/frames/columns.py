"""Columns that several documents have, so that one name means one thing in all of them."""

from __future__ import annotations

from exitsearch.specs.frames.frame import Column

PLACEMENT = Column("number of the placement in execution order, from 0; missing for the final exit", "whole")
MODULE = Column("the backbone's module at whose output the exit attaches", "text")
HEAD = Column("head type, with its options where they differ from the defaults; `final` for the final exit", "text")
SPLIT = Column("the split that the samples are of", "text")

FINAL = "final"
