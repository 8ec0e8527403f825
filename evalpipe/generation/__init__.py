"""From labelled examples to an evaluator that agrees with people."""
