"""Storytelling: a script of shots -> one captioned video, shot by shot from pictures and texts."""
