"""Pages and pictures: the report of a search in one HTML file, and the figures of profiles and trained models."""

from exitsearch.report.html.search import write_report

__all__ = ["write_report"]
