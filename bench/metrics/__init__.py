"""Extractor, statistics, function: three separate things behind every score."""
