"""Faults on purpose: killed receivers and materialisations, full disks, flipped bytes. Nothing acknowledged is lost.

receiver.py runs the server in a process that may be killed, hammer.py sends to it and remembers what was
acknowledged, accounted.py holds the tables against that. dying.py is a materialisation that kills itself.
"""
