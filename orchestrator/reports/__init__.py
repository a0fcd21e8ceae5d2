"""Reports of a sweep: tables in the terminal, CSV, figures, and one page that holds them all.

Everything is drawn from points, rows and a metric; nothing here reads the store or the sweep file.
"""

from orchestrator.reports.write import terminal, write_reports

__all__ = ["terminal", "write_reports"]
