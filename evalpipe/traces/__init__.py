"""Spans in one vocabulary, and what is made of them: traces, sessions, the view that evaluators judge."""
