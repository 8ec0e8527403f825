"""How fast and how small ingest is, against what no implementation can go below: `make bench-ingest`.

payloads.py makes the traffic, measure.py the figures; floors.py does the least that must be done, stages.py what
evalpipe does, receiving.py the same over HTTP, peers.py what two other products do with the same requests.
"""
