"""The asset graph, in four groups: observe, annotate, generate, iterate."""
