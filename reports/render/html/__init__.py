"""The report: one HTML page that needs nothing but itself; ``page`` makes it of what ``collect`` collected."""
