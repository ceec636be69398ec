"""Which arrays of a model get adapters, and which are trained whole."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

import jax
import jax.numpy as jnp

from finetune.adapters.method import Method
from finetune.host.discovery import Discovered
from finetune.host.modules import PRODUCT, ROWS, Module
from rankwise import checks

SHOWN = 8
HOPELESS = {
    "conv_general_dilated": "module {} enters no product, only conv_general_dilated; "
    "leave it out with modules",
    "stop_gradient": "module {} gets no gradient (stop_gradient); remove it from the loss, "
    "as the base is not trained anyway",
}


def whole(patterns: Sequence[str], params: Mapping[str, jax.Array]) -> tuple[str, ...]:
    """Names of the parameters that are trained as they are.

    Raises:
      ValueError: a pattern that is no regular expression or matches nothing.

    Example:
      >>> whole(("head",), {"head.bias": jnp.ones(3), "fc.bias": jnp.ones(3)})
      ('head.bias',)
    """
    if isinstance(patterns, str):
        patterns = (patterns,)
    checks.instance("train", patterns, Sequence, "regular expressions")
    names = set()
    for pattern in patterns:
        search = _expression("train", pattern)
        own = {name for name in params if search(name)}
        if not own:
            raise ValueError(f"train has {pattern!r}, which no parameter matches; {_some(params)}")
        names |= own
    return tuple(sorted(names))


def chosen(
    discovered: Discovered,
    arrays: Mapping[str, jax.Array],
    pattern: str | None,
    apart: Sequence[str],
    method: Method,
) -> dict[str, Module]:
    """Array name -> Module of what is adapted.

    Args:
      arrays: of the model.
      pattern: found in the paths of kernels, or names of arrays; None takes all that enter products
        but those of `apart`.
      apart: names of parameters that are trained whole.
      method: which may know nothing of tables.

    Raises:
      ValueError: nothing to adapt; a kernel that cannot be, by name, with the reason.
    """
    modules = discovered.modules
    if pattern is None:
        products = {n: m for n, m in modules.items() if m.kind == PRODUCT and n not in apart}
        if not products:
            raise ValueError(
                "modules is None, and the loss multiplies by no parameter of the model beside "
                f"those of train; {_some(arrays)}"
            )
    else:
        products = _matching(discovered, arrays, _expression("modules", pattern), pattern)
        both = sorted(set(products) & set(apart))
        if both:
            raise ValueError(f"module {both[0]} is in modules and in train; choose one of them")
    for name, module in products.items():
        if module.kind == ROWS and method.lookup is None:
            raise ValueError(
                f"module {name} is a table of rows, which method {method.name!r} cannot adapt; "
                "leave it out with modules"
            )
        others = sorted({u.kind for u in discovered.uses[name] if not u.fits(module)})
        if others and module.dtype.itemsize < 4:
            # W + change rounded to such a dtype has lost most of a small change.
            raise ValueError(
                f"module {name} has dtype {module.dtype.name} and, beside its {module.kind}, a "
                f"use in {others[0]}, which would not see a small change; take float32 parameters "
                "or leave it out with modules"
            )
    return products


def _matching(discovered, arrays, search, pattern: str) -> dict[str, Module]:
    matches = {}
    for name, module in discovered.modules.items():
        hits = [bool(search(path)) for path in module.paths]
        if search(name) or all(hits):
            matches[name] = module
        elif any(hits):
            raise ValueError(
                f"modules is {pattern!r}, which matches {sum(hits)} of the {len(hits)} kernels "
                f"stacked in {name}; allowed are all or none"
            )
    for name, uses in discovered.uses.items():
        reasons = [HOPELESS[use.kind] for use in uses if use.kind in HOPELESS]
        if name not in discovered.modules and reasons and search(name):
            raise ValueError(reasons[0].format(name))
    if not matches:
        wrong = [
            f"; {name} has dtype {leaf.dtype.name}, and allowed are floating ones"
            for name, leaf in arrays.items()
            if search(name) and leaf.ndim > 1 and not jnp.issubdtype(leaf.dtype, jnp.floating)
        ]
        raise ValueError(
            f"modules is {pattern!r}, which matches no kernel that the loss multiplies by"
            f"{wrong[0] if wrong else ''}; {_some(discovered.modules)}"
        )
    return matches


def _expression(what: str, pattern: str):
    try:
        return re.compile(pattern).search
    except TypeError:
        shown = checks.shown(pattern)
        raise ValueError(f"{what} is {shown}; allowed is a regular expression") from None
    except re.error as error:
        raise ValueError(f"{what} is {pattern!r}, no regular expression: {error}") from None


def _some(names) -> str:
    names = sorted(names)
    more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
    return f"there are {', '.join(names[:SHOWN]) or 'none'}{more}"
