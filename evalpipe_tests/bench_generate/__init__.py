"""Whether a generated evaluator is as good as it says, on traffic that came later: `make bench-generate`.

tasks.py has the failure modes with a known truth, split by time; makers.py is the one door to evalpipe's generation,
baselines.py what one would do without it; runs.py makes one evaluator and judges the later part with it, coverage.py
counts how often its stated interval was right. sections.py and report.py say it in Markdown.
"""
