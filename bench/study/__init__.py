"""The blind human study: a page for raters, a key for us, and the tally of their answers. Never imports torch."""
