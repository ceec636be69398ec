"""The one problem of the package: least squares, reduced exactly to matrix approximation."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import jax
import jax.numpy as jnp
import numpy as np

from deflation.problem import batches as batching
from deflation.problem import chunks, moments, reduction, samples, sparse, streamed
from deflation.problem.operators import as_partial, operator_dtype, require_function
from deflation.problem.reduced import Reduced
from deflation.problem.targets import Operator
from rankwise import checks


class Regression(Reduced):
    """min_W ||Y - W X||_F^2 = ||M - W S^(1/2)||_F^2 + energy, with X (d, n), Y (m, n), S = X X^T.

    With Q = S^(-1/2) X the target is M = Y Q^T (m, d): the best rank-r W X is the best rank-r
    approximation of M, and n does not appear any more. Where X is rank-deficient (d > n, collinear
    rows) the inverse root is the pseudo-inverse and the problem lives on the row space of X.

    Attributes:
      target: M (m, d), an array or an `Operator`.
      whitener: S^(-1/2) (d, d), takes whitened right factors back to inputs; None for X = I.
      root: S^(1/2) (d, d); None for X = I.
      unexplained: ||Y (I - P_X)||_F, the residual that no W goes below. Not its square `energy`,
        which leaves the range of float32 for data below 1e-19 or above 1e19.
      freedom: n - rank X, the degrees of freedom that it has per row of Y.
      weight: W0 of a problem made by `from_weight`, else None.

    Use a constructor: `from_data`, `from_batches`, `from_dask`, `from_moments`, `from_matrix`,
    `from_weight`, `from_operator`.

    Source: fixed-design reduction, e.g. Izenman (1975), reduced-rank regression.
    """

    __slots__ = ()

    @classmethod
    def from_data(cls, x, y, *, rows: str | None = None) -> Regression:
        """The problem of data in memory; may be traced, and differentiated with respect to y.

        Args:
          x: inputs (d, n): an array, a frame of pandas or polars, or sparse (scipy's, or JAX's
            BCOO), whose moments are then all that is formed, see `from_moments`.
          y: targets (m, n), any units, of the same kinds.
          rows: "features", the default of arrays, or "samples" for x (n, d) and y (n, m) or (n,).
            Of frames it has to be said.

        Returns:
          A Regression in the wider dtype of the two; integers become the default float.

        Raises:
          ValueError: shapes that do not match, empty, NaN or infinite, complex or non-numeric
            arrays, an all-zero y.

        Example:
          >>> import jax
          >>> x = jax.random.normal(jax.random.key(0), (5, 40))
          >>> Regression.from_data(x, x[:3]).shape
          (3, 5)
        """
        x, y = samples.in_columns(x, y, rows)
        if checks.is_sparse(x) or checks.is_sparse(y):
            return cls._from_sparse(x, y)
        x, y = checks.matrix("x", x), checks.matrix("y", y)
        checks.columns_match(x, y)
        checks.not_all_zero("y", y)
        dtype = jnp.result_type(x, y)
        x, y = x.astype(dtype), y.astype(dtype)
        return cls(*reduction.reduced(*reduction.nothing(np, x.shape[0], y.shape[0], dtype), x, y))

    @classmethod
    def from_matrix(cls, matrix) -> Regression:
        """Plain matrix approximation min_W ||matrix - W||_F of an (m, d) matrix: X = I.

        Args:
          matrix: an array, or a matrix of scipy.sparse, whose problem is one of `from_operator`: it
            is not made dense, and what is refused for operators is refused for it.

        Raises:
          ValueError: as `from_data`.

        Example:
          >>> Regression.from_matrix([[2, 0], [0, 1]]).shape
          (2, 2)
        """
        if checks.is_sparse(matrix):
            return cls.from_operator(*sparse.products(matrix))
        target = checks.matrix("matrix", matrix)
        checks.not_all_zero("matrix", target)
        zero = jnp.zeros((), target.dtype)
        return cls(target, None, None, zero, zero)

    @classmethod
    def from_batches(
        cls, batches: Iterable, *, x=None, rows: str | None = None, on: str = "host"
    ) -> Regression:
        """The problem of data that do not fit in memory: one pass over pairs (x, y) of columns.

        Or over parts of the targets alone, where there are so many that Y does not fit: with `x`.

        Memory stays at O((m + d) d) and the largest batch. By default a QR factorisation on the
        host in float64, that squares nothing: the residual is accurate to 1e-6 of ||Y|| for float32
        data at condition 1e3 and beyond. On the device moments are summed (streamed.py), at the
        rate of a product in the dtype of the data: M is the same to 1e-5 for float32 up to about
        condition 25 N^(1/4) of X, N blocks of 1024 columns, and a warning says where it is not;
        `unexplained` is a difference, as in `from_moments`.

        Args:
          batches: pairs x (d, n_i), y (m, n_i) with n_i >= 1 of any size, arrays or frames; with
            `x`, arrays y (m_i, n) of m_i targets each.
          x: inputs (d, n) of all targets, in memory; float64 copies of x and of one y are made.
          rows: as in `from_data`; "samples" for pairs x (n_i, d), y (n_i, m).
          on: "host" or "device", with `x` "host".

        Raises:
          ValueError: no batch, batches of different d or m, all-zero targets, or as `from_data`.

        Example:
          >>> x = np.random.default_rng(0).normal(size=(5, 40))
          >>> batches = [(x[:, i : i + 8], x[:3, i : i + 8]) for i in range(0, 40, 8)]
          >>> Regression.from_batches(batches).shape
          (3, 5)
          >>> Regression.from_batches([x[:1], x[1:3]], x=x).shape
          (3, 5)
        """
        checks.choice("on", on, ("host",) if x is not None else ("host", "device"))
        if x is not None:
            return cls(*reduction.finished(np, *batching.summarised_targets(x, batches, rows)))
        if on == "device":
            leaves, dtype = streamed.reduced(batches, rows)
            return cls(*(jnp.asarray(leaf, dtype) for leaf in leaves))
        return cls(*reduction.finished(np, *batching.summarised(batches, rows)))

    @classmethod
    def from_moments(cls, gram, cross, energy=None, count=None) -> Regression:
        """The problem of data that are known by their second moments alone.

        M = Z S^(-1/2), and what is unexplained is E - ||M||^2, a difference accurate to rounding of
        E. A moment has half the digits of the data: fine for a condition of X up to 1e3 with
        moments in float32, 1e7 in float64; beyond that `from_batches`.

        Args:
          gram: S = X X^T (d, d), may be singular: the problem lives on its range.
          cross: Z = Y X^T (m, d).
          energy: E = ||Y||_F^2; None counts nothing as unexplained.
          count: number of samples n; None where no rule asks for the degrees of freedom.

        Raises:
          ValueError: as `from_data`; a gram that is not square, not symmetric or not positive,
            an energy below what the inputs explain, a count below 1.

        Example:
          >>> x = np.random.default_rng(0).normal(size=(5, 40))
          >>> y = x[:3]
          >>> Regression.from_moments(x @ x.T, y @ x.T, np.sum(y**2), 40).shape
          (3, 5)
        """
        leaves, dtype = moments.whitened(gram, cross, energy, count)
        return cls(*(jnp.asarray(leaf, dtype) for leaf in leaves))

    @classmethod
    def from_dask(cls, x, y, *, rows: str = "samples") -> Regression:
        """The problem of data on a cluster: every chunk is summed to moments where it lies.

        Only (d, d) and (m, d) come home, by the scheduler that dask has (that of an active
        `distributed.Client`, which repeats what a lost worker had); memory on a worker is bounded
        by a chunk and the moments. Conditions of X as in `from_moments`, in float64. Needs dask.

        Args:
          x: an array or frame of dask, (n, d).
          y: the same, (n, m) or (n,).
          rows: "samples", or "features" for x (d, n) and y (m, n).

        Raises:
          ValueError: as `from_data`, or data that are not dask's.

        Example:
          problem = Regression.from_dask(frame[["u", "v"]], frame[["a", "b"]])
        """
        return cls._from_moments(chunks.moments(x, y, rows), np.float64)

    @classmethod
    def from_weight(cls, weight, gram=None, *, ridge: float = 0.0) -> Regression:
        """Compression of a map W0 (m, d): min_W ||(W0 - W) X||_F^2 + l ||W0 - W||_F^2.

        The answer U_r U_r^T W0, of the leading eigenvectors of W0 T W0^T with T = S + l I, needs no
        inverse: a singular S costs nothing, and no direction that the inputs have not visited is
        erased.

        Args:
          weight: W0 (m, d).
          gram: S = X X^T (d, d) of the inputs of the map, may be singular; None is the identity.
          ridge: l in units of tr(S)/d, >= 0; for few samples .1, for many .01.

        Raises:
          ValueError: as `from_moments`, a negative ridge.

        Source: Eckart and Young (1936), applied to W0 T^(1/2).

        Example:
          >>> x = np.random.default_rng(0).normal(size=(4, 2))
          >>> Regression.from_weight(np.ones((3, 4)), x @ x.T, ridge=0.01).shape
          (3, 4)
        """
        checks.positive("ridge", ridge, zero=True)
        if gram is None:
            return cls.from_matrix(weight)
        (target, root), dtype = moments.weighted(weight, gram, ridge)
        zero = jnp.zeros((), dtype)
        target, root, weight = (jnp.asarray(leaf, dtype) for leaf in (target, root, weight))
        return cls(target, None, root, zero, zero, weight)

    @classmethod
    def from_operator(
        cls, matvec: Callable, rmatvec: Callable, shape: tuple[int, int], dtype=None
    ) -> Regression:
        """Matrix approximation of an implicit or sparse M (m, d), known by its products.

        Args:
          matvec: v (d,) -> M v (m,), traceable by JAX. A `jax.tree_util.Partial` makes the arrays
            it holds arguments of the compiled run; a plain closure makes them constants.
          rmatvec: u (m,) -> M^T u (d,).
          shape: (m, d).
          dtype: of the products; the default float when None.

        Raises:
          ValueError: a shape that is not two positive integers, functions that are not callable or
            whose outputs have another shape.

        Example:
          >>> from jax.tree_util import Partial
          >>> diagonal = jnp.array([3.0, 2.0, 1.0])
          >>> scale = Partial(jnp.multiply, diagonal)
          >>> Regression.from_operator(scale, scale, (3, 3)).shape
          (3, 3)
        """
        if not isinstance(shape, tuple | list) or len(shape) != 2:
            raise ValueError(f"shape is {checks.shown(shape)}; allowed is a pair (m, d)")
        m, d = (checks.integer("shape", size, 1) for size in shape)
        dtype = operator_dtype(dtype)
        require_function("matvec", matvec, d, m, dtype)
        require_function("rmatvec", rmatvec, m, d, dtype)
        target = Operator(as_partial(matvec), as_partial(rmatvec), (m, d), dtype)
        zero = jnp.zeros((), dtype)
        return cls(target, None, None, zero, zero)

    def update(self, x, y) -> Regression:
        """The problem with the columns x (d, n), y (m, n) added: for warm restarts.

        Exact: equal to rebuilding the problem from all columns, at a cost that does not depend on
        how many there were.

        Raises:
          ValueError: as `from_data`, other d or m than before, or an operator problem.
        """
        x, y = checks.matrix("x", x), checks.matrix("y", y)
        checks.columns_match(x, y)
        m, d = self.shape
        if isinstance(self.target, Operator):
            raise ValueError("update needs a problem made from data; this one is an operator")
        if self.weight is not None:
            raise ValueError("update needs a problem made from data; this one is from_weight")
        if (y.shape[0], x.shape[0]) != (m, d):
            raise ValueError(
                f"x and y have {x.shape[0]} and {y.shape[0]} rows; allowed are {d} and {m}"
            )
        r = jnp.eye(d, dtype=self.dtype) if self.root is None else self.root
        # With X = I there is no sample to count: the d columns of the identity explain M exactly.
        count = self.freedom + (d if self.root is None else self.design_rank())
        old = (r, self.target, self.unexplained, count)
        return type(self)(*reduction.reduced(*old, x.astype(self.dtype), y.astype(self.dtype)))

    @classmethod
    def _from_sparse(cls, x, y) -> Regression:
        for name, value in (("x", x), ("y", y)):
            check = samples.check_sparse if checks.is_sparse(value) else checks.array
            check(name, value)
        checks.columns_match(x, y)
        return cls._from_moments(moments.Moments.of(x, y), np.result_type(x.dtype, y.dtype))

    @classmethod
    def _from_moments(cls, sums: moments.Moments, dtype) -> Regression:
        gram, cross, squares = sums.about()
        checks.not_all_zero("y", squares[None])
        problem = cls.from_moments(gram, cross, float(squares.sum()), sums.count)
        # In the dtype of the data; the moments are in float64.
        return jax.tree.map(lambda leaf: leaf.astype(checks.float_dtype(dtype)), problem)
