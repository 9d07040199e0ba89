"""What people read on a terminal: tables and sentences, and the same numbers for `--json`."""
