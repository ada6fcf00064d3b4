"""Files of the repository are pages at their own paths, and links are those of the repository."""

import os
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

ROOT = Path(__file__).resolve().parents[2]
SHOWN = (
    *("CHANGELOG.md", "CODE_OF_CONDUCT.md", "CONTRIBUTING.md", "SECURITY.md"),
    *("benchmarks/*.md", "benchmarks/*.png", "benchmarks/*.py", "examples/*.py"),
    "figures/**/*.png",
)
LINK = re.compile(r"(?<=\]\()([^)\s#:]+)(?=[)#])")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The site's files, and those of the repository that stand outside `docs/`."""
    for pattern in SHOWN:
        for path in sorted(ROOT.glob(pattern)):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """A page whose relative links lead where they lead in the repository.

    What leads to no file of the site stays as it is, so that MkDocs warns of it.
    """
    source = page.file.abs_src_path or ROOT / page.file.src_uri
    pages = {_origin(file): file.src_uri for file in files}
    folder = os.path.dirname(page.file.src_uri)

    def there(link: re.Match[str]) -> str:
        name = pages.get(os.path.normpath(Path(source).parent / link[1]))
        return os.path.relpath(name, folder or ".") if name else link[1]

    return LINK.sub(there, markdown)


def _origin(file: File) -> str:
    """The path of what a file of the site was made of."""
    name = re.sub(r"^(notebooks/.*)\.md$", r"\1.ipynb", file.src_uri)
    return file.abs_src_path or str(ROOT / name)
