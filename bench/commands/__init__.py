"""The commands, a file per family: what a user types, checked, and handed on; heavy imports wait for the call."""
