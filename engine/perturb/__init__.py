"""Perturbations: small pure functions on named tensors, and the targets that they act on."""
