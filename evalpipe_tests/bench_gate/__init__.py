"""Whether the gate stops the releases that it should, and how fast it is: `make bench-gate`.

releases.py draws releases whose truth is known and has the gate decide on them; load.py makes a suite and cases, on
which speed.py times the command, and peers.py promptfoo and DeepEval with the same assertions. sections.py says it in
Markdown, and __main__.py runs the parts. webhook.py times the webhook and GraphQL, on a copy of a demo home.
"""
