"""Rendering: a report -> one HTML file that needs nothing else, and the same as Markdown.

Knows templates and files, not what a report says.
"""

import base64
import io
from collections.abc import Sequence
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from ablations.core.errors import StorageError, reason
from analysis.examples import Example
from analysis.report.page import Report
from analysis.report.tables import cell

FIGURES = "report_figures"


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write `report.html`, and `report.md` with its figures in a folder beside it; return the two paths.

    Raises:
        StorageError: the folder cannot be written.
    """
    pictures = {name: _png(figure) for section in report.sections for name, figure in section.figures.items()}
    environment = _environment()
    environment.filters["embedded"] = lambda name: f"data:image/png;base64,{base64.b64encode(pictures[name]).decode()}"
    pages = {
        folder / "report.html": environment.get_template("report.html.jinja").render(report=report),
        folder / "report.md": environment.get_template("report.md.jinja").render(report=report, figures=FIGURES),
    }
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        for path, text in pages.items():
            path.write_text(text, encoding="utf-8")
        for name, picture in pictures.items():
            (folder / FIGURES / f"{name}.png").write_bytes(picture)
    except OSError as error:
        raise StorageError(f"the report cannot be written to {folder}: {reason(error)}; name another folder") from error
    html, markdown = pages
    return html, markdown


class ExamplesPage:
    """Answers side by side, as a notebook shows them; takes what `examples.read_examples` returns."""

    def __init__(self, examples: Sequence[Example]) -> None:
        self._examples = examples

    def _repr_html_(self) -> str:
        environment = _environment()
        style = environment.get_template("examples.css.jinja").render()
        page = environment.get_template("examples.html.jinja").render(examples=self._examples)
        return f"<style>:root {{ --line: #ccc; --soft: #666; --shade: #f5f7f9; }} {style}</style>{page}"


def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("analysis.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=lambda name: name is not None and ".html" in name,
    )
    environment.filters |= {"cell": cell, "quoted": _quoted}
    return environment


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _quoted(text: str) -> str:
    """Return a text as a fenced block whose fence it does not contain."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"
