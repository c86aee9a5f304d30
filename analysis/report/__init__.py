"""The report: one study on one page, as HTML that works offline and as Markdown."""

from analysis.report.content import About, Report, models_report, search_report, study_report
from analysis.report.render import ExamplesPage, write_report

__all__ = ["About", "ExamplesPage", "Report", "models_report", "search_report", "study_report", "write_report"]
