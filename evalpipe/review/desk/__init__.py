"""A reviewer at work: what is shown of a queue and of a trace, what is said of it, and who may sit there."""
