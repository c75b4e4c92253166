"""Single edits that a bug could be, each with the tests that have to see it: ``make mutants``, and what came of it in
``docs/mutants.md``."""
