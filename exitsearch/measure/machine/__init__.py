"""The machine that measures: its fingerprint, its processor and its GPU, and how busy they were meanwhile."""
