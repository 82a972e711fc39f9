"""Measurements beside what people would use instead; each module is one command: ``python -m benchmarks.NAME``."""
