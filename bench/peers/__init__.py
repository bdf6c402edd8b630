"""The peers: each starts on a folder of its own, does the row's work, and is counted afterwards."""
