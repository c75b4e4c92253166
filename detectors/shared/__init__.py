"""What several detectors have in common."""
