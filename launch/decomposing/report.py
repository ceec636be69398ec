"""What `launch.decompose` reports: a comparison with the exact answer, printed and on disk."""

from __future__ import annotations

import time

import jax
import numpy as np
from safetensors.numpy import save as serialised

from deflation import Solution
from deflation.problem.components import frobenius, norms
from launch.decomposing.inputs import Input
from launch.decomposing.portions import Run
from launch.shell.tables import table
from rankwise.files import replacing

ROUNDING = 32  # units of it, relative to all components together
ASSUMED = {
    True: "nothing is assumed",
    False: "unless a larger direction was missed, see deflation/bounds.py",
}


def compare(problem, method: str, run: Run, exact: Solution | None) -> dict:
    """The record of a run, under the keys of --json; residuals in units of Y, bounds
    relative to the sizes of the components and of the sum. Without an exact answer what is
    compared with it is None."""
    components = run.solution.components
    sizes = component_sizes(problem, run.solution)
    bounds = np.asarray(run.solution.bounds) / np.where(sizes > 0, sizes, 1)
    residual = errors = None
    if exact is not None:
        residual = float(problem.residual(exact.components))
        errors = np.asarray(problem.component_errors(components, exact.components))
    return {
        "method": method,
        "rank": components.b.shape[0],
        "residual": float(problem.residual(components)),
        "exact_residual": residual,
        "component_errors": errors,
        "component_bounds": bounds,
        "bound_of_sum": float(run.solution.bound_of_sum) / (frobenius(sizes, np) or 1.0),
        "status": run.solution.status.name,
        "seconds": run.seconds,
    }


def report(problem, result: dict, solution: Solution, exact_seconds: float | None) -> None:
    """Prints one row per component and the residuals."""
    sizes = component_sizes(problem, solution)
    columns = {"size": sizes}
    residual = f"residual {result['residual']:.8g}"
    seconds = f"{result['method']} {result['seconds']:.3f} s after {int(solution.rounds)} rounds"
    if exact_seconds is None:
        residual += "; no exact answer, as no process has all rows"
        seconds += " (without compilation)"
    else:
        columns["error against exact"] = result["component_errors"]
        residual += f", exact {result['exact_residual']:.8g}, {_excess(result, solution, sizes)}"
        seconds += f", exact {exact_seconds:.3f} s (both without compilation)"
    columns["bound"] = result["component_bounds"]
    rows = [(k + 1, *map(float, row)) for k, row in enumerate(zip(*columns.values(), strict=True))]
    print(table(("component", *columns), rows))
    print(residual)
    print(seconds)
    if solution.decomposition is not None:
        print(f"computed by {solution.decomposition.name}: {solution.decomposition.reason}")
    largest, whole = np.max(result["component_bounds"]), result["bound_of_sum"]
    print(
        f"bounds without the exact answer: components {largest:.1e}, their sum {whole:.1e} "
        f"(relative; {ASSUMED[bool(solution.proved)]})"
    )
    print(f"status {solution.status.name}: {solution.message}")


def component_sizes(problem, solution: Solution) -> np.ndarray:
    """||R_k X||_F of every component (r,), float64; at any scale of Y."""
    whitened = problem.to_whitened(solution.components)
    return norms(jax.tree.map(np.asarray, whitened), np).astype(np.float64)


def _excess(result: dict, solution: Solution, sizes: np.ndarray) -> str:
    """How far the residual is above the exact one, where that is more than rounding."""
    rounding = ROUNDING * np.finfo(solution.components.b.dtype).eps * frobenius(sizes, np)
    if max(result["residual"], result["exact_residual"]) <= rounding:
        return "both rounding"
    exact = max(result["exact_residual"], np.finfo(float).tiny)
    return f"relative excess {result['residual'] / exact - 1:.1e}"


def write_files(folder, given: Input, solution: Solution, result: dict) -> None:
    """Components as safetensors (b, a) and the pictures."""
    # Matplotlib takes as long to import as all else, and is needed here alone.
    from launch.decomposing import pictures
    from rankwise.plots.files import save as save_figure

    # safetensors writes the buffer as it lies: it must be contiguous to be read back right.
    tensors = {n: np.ascontiguousarray(v) for n, v in solution.components._asdict().items()}
    described = {"method": result["method"], "rank": str(result["rank"]), "format": "np"}
    with replacing(folder / "components.safetensors") as part:
        part.write_bytes(serialised(tensors, metadata=described))
    sizes = component_sizes(given.problem, solution)
    drawn = pictures.convergence(solution.history, sizes, result["component_errors"])
    save_figure(drawn, folder / "convergence")
    if given.upper is not None:
        drawn = pictures.completions(solution.components, given.upper, given.lower)
        save_figure(drawn, folder / "completions")


def timed(function):
    """The result of a second call of `function`, and its seconds: warm."""
    jax.block_until_ready(function())
    started = time.perf_counter()
    result = jax.block_until_ready(function())
    return result, time.perf_counter() - started
