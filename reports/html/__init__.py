"""The report: one HTML page that needs nothing but itself.  ``render_page(data)`` turns what ``harness.report_data`` collected into text."""

from reports.html.page import render_page

__all__ = ["render_page"]
