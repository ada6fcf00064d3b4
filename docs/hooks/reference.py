"""The reference: public names by their docstrings, commands by what the command line says."""

import re
import subprocess
import sys

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

import lesion

PYTHON = """# Python

Everything is a name of `lesion` itself: `import lesion`. A command and its function have one name,
and so have their options: `lesion recommend study.lesion --after bn` is
`lesion.recommend(study, after="bn")`. The sequential tests can be used alone: `lesion.sequential`.
"""
COMMANDS = """# Command line

What `lesion COMMAND --help` says, by the same program.
"""
KINDS = {
    "Functions": lambda name: name.islower() and not name.startswith("plot_"),
    "Pictures": lambda name: name.startswith("plot_"),
    "Classes": lambda name: not name.islower() and not name.endswith("Error"),
    "Errors": lambda name: name.endswith("Error"),
}


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The site's files and the two pages of the reference."""
    for name, text in {"python": python(), "commands": commands()}.items():
        files.append(File.generated(config, f"reference/{name}.md", content=text))
    return files


def python() -> str:
    """A heading a kind, under it the names, whose docstrings mkdocstrings puts there."""
    parts = [PYTHON]
    for kind, fits in KINDS.items():
        parts += [
            f"## {kind}\n",
            *(f"::: lesion.{name}\n" for name in lesion.__all__ if fits(name)),
        ]
    return "\n".join(parts)


def commands() -> str:
    """What typer writes of the command line, its first heading and list of commands left out."""
    asked = [sys.executable, "-m", "typer", "lesion.cli.run", "utils", "docs", "--name", "lesion"]
    written = subprocess.run(asked, capture_output=True, text=True, check=True).stdout
    of_commands = written[written.index("## `") :]
    return COMMANDS + "\n" + re.sub(r"<(?=bool>)|(?<=<bool)>", "", of_commands)
