"""What people look at: coverage, figures, pages."""
