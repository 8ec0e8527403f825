"""Pure statistics: confusion, intervals, coverage. No input or output."""
