"""Spec -> plan -> execute -> record: the harness that trains, samples and scores every variant."""
