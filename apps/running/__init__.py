"""Carries out a run: plans inputs and outputs, claims and locks files, loops over items, resumes, keeps manifests."""
