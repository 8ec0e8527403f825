"""Queues and annotations as files: CSV, JSON lines, and those of other annotation tools, one module a tool."""
