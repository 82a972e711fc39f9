"""Whether two zones answer the same, are the same, and are apart from each other."""
