"""evalpipe: production traces become evaluators that gate the next deployment."""
