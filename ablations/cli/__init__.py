"""The command line: argv in, terminal out."""
