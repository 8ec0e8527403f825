"""The queue of a week: who reviews, which traces, in which order, and with what chance each was chosen."""
