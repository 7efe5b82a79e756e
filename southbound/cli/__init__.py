"""The `southbound` command: one file for each noun.

The rule: the command line wires the parts together and decides nothing itself. Data go to standard
output, progress and errors to standard error; nothing heavy is imported before it is needed.
"""
