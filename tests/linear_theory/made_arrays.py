"""Arrays as the experiments of the figures return them, made up."""

import numpy as np

T, N = 30, 3
STEPS = np.array([(2, 10, 18), (10, 10, 10), (18, 10, 2)])


def runs(*shape):
    """Positive numbers that fall by four decades along the last axis, with some scatter."""
    numbers = np.random.default_rng(0)
    return np.geomspace(1, 1e-4, shape[-1]) * np.exp(0.3 * numbers.normal(size=shape))


def made_up(name):
    """Arrays of the shapes that the experiment of this figure returns."""
    profiles, alphas = np.array(["uniform", "exponential", "power"]), np.array([-1.0, 0.0, 1.0])
    orders, levels = np.array(["more", "equal", "less"]), np.array([0.1, 1.0])
    curves = {key: runs(3, N, T) for key in ("reconstruction", "training", "step_error")}
    ends = {key: value[..., -1] for key, value in curves.items()}
    first = np.tile(np.arange(10.0, 30.0, 10.0), (2, 3, N, 1))
    first[0, 1, 0, 1] = np.nan
    workers = {"error": runs(N, T, 3), "late_rate": np.full(3, 0.4)}
    return {
        "sequential_allocation": {"alphas": alphas, "steps": STEPS, **curves},
        "sequential_alpha_sweep": {"alphas": alphas, "steps": STEPS, **ends},
        "sequential_allocation_limits": {
            "alphas": alphas,
            "total": 200,
            "totals": np.array([100, 200]),
            "designs": np.array(["column", "orthonormal"]),
            "by_total": runs(2, 3, N),
            "by_design": runs(2, 3, N),
            "by_design_auto": runs(2, 3, N),
        },
        "sequential_horizon": {
            "totals": np.array([100, 200, 800]),
            "orders": orders,
            "reconstruction": runs(3, 3, N),
        },
        "sequential_thresholds": {
            "levels": np.array([2.0, 1.0]),
            "orders": orders,
            "budgets": np.array([(80, 40, 100), (80, 80, 80)]),
            "staircase": first,
            "smooth": first,
        },
        "sequential_spectra": {
            "profiles": profiles,
            "of_map": runs(3, 5),
            "of_target": runs(3, 5),
        },
        "sequential_profiles": {
            "profiles": profiles,
            "steps": np.array(["fixed", "auto"]),
            "component_steps": STEPS[1],
            "reconstruction": runs(2, 3, N, T),
            "training": runs(2, 3, N, T),
        },
        "sequential_noise": {
            "levels": levels,
            "densities": np.array([1.0, 0.05]),
            "component_steps": STEPS[1],
            "reconstruction": runs(2, 2, N, T),
            "training": runs(2, 2, N, T),
        },
        "sequential_noise_allocation": {
            "levels": levels,
            "totals": np.array([T]),
            "orders": orders,
            f"reconstruction_{T}": runs(2, 3, N, T),
            f"steps_{T}": STEPS,
        },
        "sequential_noise_profiles": {
            "profiles": profiles,
            "levels": levels,
            "norms": np.array([1.0, 2.0, 3.0]),
            "component_steps": STEPS[1],
            "error": runs(2, 3, N, T),
        },
        "sequential_sizes": {
            "alphas": np.array([-1.0, 0.0, 1.0]),
            "sizes": np.array([[4, 5, 8, 2], [8, 10, 25, 3]]),
            "designs": np.array(["column", "row"]),
            "each": np.array(25),
            "reconstruction": runs(2, 2, 3, N),
        },
        "extensions": {
            "options": np.array(["plain", "full-rank steps"]),
            "solvers": np.array(["gradient", "power"]),
            "gradient_work": np.tile(np.arange(1.0, T + 1), (2, 1)),
            "gradient_training": runs(2, N, T) ** 4,
            "gradient_component_error": runs(2, N, 3),
            "power_work": np.tile(np.arange(1.0, 7.0), (2, 1)),
            "power_training": runs(2, N, 6),
            "power_component_error": runs(2, N, 2),
        },
        "parallel_errors": {
            "rounds": np.arange(T),
            "ratio": np.array(0.6),
            "envelope": np.where(np.arange(T)[:, None] < 3, np.inf, 10 * runs(N, T, 3)),
            "settled": np.full((N, T, 3), np.inf),
            "warm_up": np.full((N, 3), 5.0),
            "proved_rate": np.full((N, 3), 0.8),
            **workers,
        },
        "parallel_warm_up": {
            "gaps": np.array([0.3, 0.1]),
            "ratios": np.array([0.5, 0.8]),
            "measured_workers": 1 / runs(2, N, 3),
            "theorem_workers": 2 / runs(2, N, 3),
            **{
                key: 5 / runs(2, N)
                for key in ("measured", "sharp", "lambert_1", "lambert_6", "theorem")
            },
        },
        "parallel_advance_learning": {
            "spectra": np.array(["geometric", "power"]),
            "sweeps": np.array([1, 3]),
            "target": np.array(1e-4),
            "with": runs(N, T, 3),
            "without": 2 * runs(N, T, 3),
            "ratio": runs(2, 2, N, 2),
            "saved": runs(2, 2, N, 2),
        },
        "parallel_versus_sequential": {
            "spectra": np.array(["geometric", "harmonic"]),
            "each": np.array(4),
            "sequential_work": np.arange(1, 13),
            "parallel_work": 3 * np.arange(1, 13),
            "sequential_error": runs(2, N, 12, 3),
            "parallel_error": runs(2, N, 12, 3),
            "sequential_sum_error": runs(2, N, 12),
            "parallel_sum_error": runs(2, N, 12),
        },
        "noise_floor": {
            "values": np.array([3.0, 2.0]),
            "levels": levels,
            "first_order": np.array([1.0, 2.0]),
            "two_terms": np.array([1.1, 2.5]),
            "squared_error": 1 / runs(2, N),
        },
        "best_rank": {
            "levels": levels,
            "shown": levels,
            "ranks": np.arange(1, 5),
            "error": runs(2, N, 4),
            "chosen": np.full((2, N), 2),
        },
        **adaptation(),
    }[name]


def adaptation():
    """The same for low-rank adaptation and its toys."""
    grid = np.linspace(-2, 2, 9)
    b, a = np.meshgrid(grid, grid, indexing="ij")
    return {
        "alignment_over_time": {
            "steps": np.arange(T),
            "sizes": np.array([1.0, 0.1]),
            "risk": runs(2, N, T),
            "angle": np.minimum(runs(2, N, T), 1),
            "ratios": np.array([1.0, 4.0]),
            "mean_step": np.array([0.1, 0.2]),
            "ratio_angle": np.minimum(runs(2, N, T), 1),
            "small": np.array([0.1, 0.01, 0.001]),
            "best": np.geomspace(0.1, 0.01, 3)[:, None] * np.ones(N),
            "floor": np.full(N, 0.3),
            "exponent": np.full(N, 0.5),
        },
        "starts_over_time": {
            "starts": np.array(["spectral", "LoRA-One", "+gradient", "LoRA-GA", "LoRA"]),
            "risk": runs(5, N, T),
            "plateau": np.full(N, 1e-2),
            "samples": np.array([100, 200, 400]),
            "plateau_by_samples": np.array([4e-2, 2e-2, 1e-2])[:, None] * np.ones(N),
        },
        "toy_paths": {
            "starts": np.array(["spectral", "LoRA"]),
            "loss": runs(2, N, T),
            "end": 1 + runs(2, N),
            "predicted": 1 + runs(2, N),
            "target": np.array(1.0),
            "grid": grid,
            "height": np.log10((a * b - 1) ** 2 + 1e-3),
            "field": np.stack([-(a * b - 1) * b, -(a * b - 1) * a]),
            "paths": np.stack([runs(T, 2)] * 4),
        },
    }
