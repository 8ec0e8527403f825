"""A simulated application and a scripted reviewer, for the demo only."""
