"""What makes a trace worth a reviewer's time."""
