"""The parts of a training in the order in which they run, and one of them under way."""
