"""A bundle on the disk: its manifest, and whether it can be trusted."""
