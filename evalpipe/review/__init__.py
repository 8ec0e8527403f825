"""The queue that people read and the annotations they give back."""
