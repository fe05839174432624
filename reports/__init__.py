"""Records -> tables, figures, HTML and Markdown. Never imports torch."""
