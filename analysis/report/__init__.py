"""The report: one study on one page, as HTML that works offline and as Markdown."""

from analysis.report.models import models_report
from analysis.report.page import About, Report
from analysis.report.render import ExamplesPage, write_report
from analysis.report.search import search_report
from analysis.report.study import study_report
from analysis.report.tuning import tuning_report

__all__ = [
    "About",
    "ExamplesPage",
    "Report",
    "models_report",
    "search_report",
    "study_report",
    "tuning_report",
    "write_report",
]
