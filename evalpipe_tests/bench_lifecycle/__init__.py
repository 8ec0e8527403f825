"""Whether issues are called solved and returned when they are: `make bench-lifecycle`.

histories.py makes months of traffic whose true failures are known, living.py has people read it and the pipeline judge
it week by week; studies.py counts what was called what, surges.py what escalated, cost.py what it costs. sections.py
and report.py say it in Markdown.
"""
