"""The whole platform on one laptop: real programs where they install as packages, wire-compatible servers where not."""
