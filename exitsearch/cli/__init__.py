"""The command line: one file per command, the only place with argument parsing and printing."""
