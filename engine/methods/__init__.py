"""Methods: named compositions of the perturbation slots, one file for each published method."""
