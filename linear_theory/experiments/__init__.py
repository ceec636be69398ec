"""The arrays behind the figures: one pure function each, (setting, **options) -> arrays."""

from linear_theory.experiments.adaptation import alignment_over_time, starts_over_time
from linear_theory.experiments.allocation import allocation, allocation_limits, alpha_sweep
from linear_theory.experiments.extensions import extensions
from linear_theory.experiments.generalization import best_rank, floor
from linear_theory.experiments.noise import noise_allocation, noise_curves
from linear_theory.experiments.profiles import profile_curves, profile_noise, spectra
from linear_theory.experiments.self_correction import parallel_errors
from linear_theory.experiments.setting import Setting
from linear_theory.experiments.thresholds import horizon, thresholds
from linear_theory.experiments.toys import toy_paths
from linear_theory.experiments.versus import advance_learning, versus_sequential
from linear_theory.experiments.warm_up import warm_up_against_gap

__all__ = [
    "Setting",
    "advance_learning",
    "alignment_over_time",
    "allocation",
    "allocation_limits",
    "alpha_sweep",
    "best_rank",
    "extensions",
    "floor",
    "horizon",
    "noise_allocation",
    "noise_curves",
    "parallel_errors",
    "profile_curves",
    "profile_noise",
    "spectra",
    "starts_over_time",
    "thresholds",
    "toy_paths",
    "versus_sequential",
    "warm_up_against_gap",
]
