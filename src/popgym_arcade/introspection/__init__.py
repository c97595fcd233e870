"""What an agent remembers and how that moves its decisions: saliency, recall density, contamination, gap, and a report."""
