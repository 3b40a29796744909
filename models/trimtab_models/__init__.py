"""Build families: train a network, compress it in many ways, measure and export every variant."""
