"""The run as people read it: one self-contained HTML file and a short table for the terminal. No Spark in this room."""
