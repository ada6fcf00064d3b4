"""Notebooks as pages: their texts, code and outputs as they were run, nothing is run again."""

import base64
import json
from pathlib import Path
from typing import Any

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files

NOTEBOOKS = Path(__file__).resolve().parents[2] / "notebooks"


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """The site's files, a page for each notebook, and the pictures in it."""
    for path in sorted(NOTEBOOKS.glob("*.ipynb")):
        pictures: dict[str, bytes] = {}
        cells = json.loads(path.read_text())["cells"]
        text = "\n\n".join(_cell(cell, path.stem, pictures) for cell in cells)
        files.append(File.generated(config, f"notebooks/{path.stem}.md", content=text))
        for name, content in pictures.items():
            files.append(File.generated(config, f"notebooks/{name}", content=content))
    return files


def _cell(cell: dict[str, Any], stem: str, pictures: dict[str, bytes]) -> str:
    source = "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        return source
    shown = [_output(output, stem, pictures) for output in cell.get("outputs", ())]
    return "\n\n".join([_code(source, "python"), *shown])


def _output(output: dict[str, Any], stem: str, pictures: dict[str, bytes]) -> str:
    """An output as a picture or text; pictures are put into `pictures` under their names."""
    data = output.get("data", {})
    if "image/png" in data:
        name = f"{stem}_{len(pictures) + 1}.png"
        pictures[name] = base64.b64decode("".join(data["image/png"]))
        return f"![what the code above draws]({name})"
    return _code("".join(output.get("text") or data.get("text/plain", ())), "text")


def _code(text: str, language: str) -> str:
    return f"````{language}\n{text.rstrip()}\n````"
