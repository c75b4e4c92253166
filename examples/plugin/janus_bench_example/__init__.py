"""An example plugin for janus-bench."""
