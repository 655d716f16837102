"""The command line `nnw`: the only room that prints, and the only one to import typer and rich.

Answers go to stdout, messages to stderr. Exit status: 0 yes or done, 1 no, 2 error, 130 when
interrupted.
"""
