"""The command line.

A command is a function `<name>_command` in any module of this package; `heredity.cli.main` finds it by that name,
takes its one-line help from the docstring, and imports the module when the command is used. A module may say where its
commands stand in the help with `PANEL = "…"`.
"""
