"""The report: one HTML page that needs nothing but itself.  ``render_page(data)`` turns what ``reports.render.html.collect`` collected into text."""

from reports.render.html.page import render_page

__all__ = ["render_page"]
