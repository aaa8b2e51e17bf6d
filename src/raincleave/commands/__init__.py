"""One module for each subcommand of ``raincleave``; see `raincleave.cli`."""
