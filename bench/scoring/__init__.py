"""Scoring what others made: any system's videos, stored samples under other protocols, two results side by side."""
