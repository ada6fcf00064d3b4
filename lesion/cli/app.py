"""The commands: what measures, what reads a study, and what picks rates and hands them over."""

import typer

app = typer.Typer(
    help="Which layers of a convolutional network can be pruned, and how far.\n\n"
    "`lesion demo` shows it on a bundled network. On your own, `lesion layers` looks at it, "
    "`lesion sweep` measures it, and the other commands read the study file that comes out.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
