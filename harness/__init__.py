"""The engine: contract, plugins, planning, running and storing.  Import from ``janus_bench`` in plugins and
notebooks."""
