"""The run of many steps that previews stand for: 40 steps of multistep DPM-Solver (Wang et al. 2025, arXiv 2512.13592).

Imports no torch.
"""

SOLVER, STEPS = "dpmpp-2m", 40
GRID = "time-uniform"  # that of edits, with fewer steps that of previews
