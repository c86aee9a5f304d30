"""Rendering: a report -> one HTML file that needs nothing else, and the same as Markdown.

Knows templates and files, not what a report says.
"""

import base64
import io
from pathlib import Path

from jinja2 import Environment, PackageLoader, StrictUndefined
from matplotlib.figure import Figure

from ablations.errors import StorageError
from analysis.report.content import Report

FIGURES = "report_figures"


def write_report(report: Report, folder: Path) -> tuple[Path, Path]:
    """Write `report.html`, and `report.md` with its figures in a folder beside it; return the two paths.

    Raises:
        StorageError: the folder cannot be written.
    """
    environment = Environment(
        loader=PackageLoader("analysis.report"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=lambda name: name is not None and ".html" in name,
    )
    environment.filters |= {"embedded": _embedded, "cell": _cell, "quoted": _quoted}
    pages = {
        folder / "report.html": environment.get_template("report.html.jinja").render(report=report),
        folder / "report.md": environment.get_template("report.md.jinja").render(report=report, figures=FIGURES),
    }
    try:
        (folder / FIGURES).mkdir(parents=True, exist_ok=True)
        for path, text in pages.items():
            path.write_text(text, encoding="utf-8")
        for section in report.sections:
            for name, figure in section.figures.items():
                (folder / FIGURES / f"{name}.png").write_bytes(_png(figure))
    except OSError as error:
        raise StorageError(
            f"the report cannot be written to {folder}: {error.strerror}; name another folder"
        ) from error
    html, markdown = pages
    return html, markdown


def _png(figure: Figure) -> bytes:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", metadata={"Software": None})
    return buffer.getvalue()


def _embedded(figure: Figure) -> str:
    return f"data:image/png;base64,{base64.b64encode(_png(figure)).decode()}"


def _cell(text: str) -> str:
    """Return a text as a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")


def _quoted(text: str) -> str:
    """Return a text as a fenced block whose fence it does not contain."""
    fence = "```"
    while fence in text:
        fence += "`"
    return f"{fence}text\n{text}\n{fence}"
