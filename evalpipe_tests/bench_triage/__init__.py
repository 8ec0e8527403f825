"""Whether triage puts the right traces first, and what that costs: `make bench-triage`.

worlds.py makes traffic whose failures are known, reading.py has it read in several orders, yields.py counts what was
found and studies.py puts it side by side; load.py makes large days, cost.py measures them. sections.py and report.py
say it in Markdown. What ingest costs is in bench_ingest.
"""
