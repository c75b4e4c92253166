"""How tables and pages are drawn: terminal, markdown, LaTeX, tidy files, HTML."""
