"""How is it asked? The command line: `lesion layers | sweep | curves | recommend | …`."""


def main() -> None:
    """Run the command line; an error is one sentence and exit status 1."""
    from lesion.cli.run import main as run

    run()
