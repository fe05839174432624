"""DynamiCrafter: tensors in, tensors out. Knows nothing of datasets, files of videos, specs or reports."""
