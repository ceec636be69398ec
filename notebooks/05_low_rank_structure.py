# ---
# jupyter:
#   jupytext:
#     formats: ipynb,py:percent
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---

# %% [markdown]
# # Where low rank comes from
#
# A tour through the survey on low-rank structure in deep learning (arXiv 2503.19859): linear layers,
# weight decay, classification, dropout, training in subspaces. Each statement is measured next to its
# formula. Several of the printed ones fail as they stand; section 6 has them side by side with a
# counterexample and the corrected form.

# %%
import functools
import os

import jax
import jax.numpy as jnp
import matplotlib.pyplot as plt
import numpy as np
import scipy.optimize

from deflation.problem.spectrum import effective_rank, stable_rank
from linear_theory import check, registry
from linear_theory.instances.random_matrices import norm, orthogonal, squared_norm, with_values
from linear_theory.structure.deep_linear import silent_scales
from linear_theory.structure.deep_linear import theory as deep
from linear_theory.structure.dropout import theory as dropout
from linear_theory.structure.dropout.instances import draw_masked, masks, random_layers
from linear_theory.structure.gradient_projection import gradient_rank
from linear_theory.structure.gradient_projection import theory as gp
from linear_theory.structure.gradient_projection.claims_projection import draw_tanh
from linear_theory.structure.gradient_projection.claims_rank import draw_linear
from linear_theory.structure.least_squares import theory as least_squares
from linear_theory.structure.margin import theory as margin
from linear_theory.structure.margin.claims import draw_separable
from linear_theory.structure.masking import theory as masking
from linear_theory.structure.masking.claims import draw_inputs, draw_unequal
from linear_theory.structure.regularization import theory as reg

QUICK = "RANKWISE_QUICK" in os.environ  # smaller numbers for continuous integration
jax.config.update("jax_enable_x64", True)
plt.rcParams["figure.dpi"] = 110
corrections = {}  # statement: (printed, measured, corrected), filled along the way

# %% [markdown]
# ## 1. Deep linear networks: only 2r directions move
#
# Gradient descent on $\tfrac12\|W_L\cdots W_1-\Phi\|_F^2+\tfrac\lambda2\sum_l\|W_l\|_F^2$ with a target
# of rank $r$, width $d>2r$ and layers that start as $\epsilon$ times orthogonal matrices. Theorem 2: on
# a fixed subspace of dimension $d-2r$ each layer stays a multiple $\rho_l(t)$ of an isometry, with
#
# $$ \rho_l \leftarrow \rho_l\Big(1-\eta\lambda-\eta\prod_{k\ne l}\rho_k^2\Big). $$
#
# The singular values of the update $W_1(t)-W_1(0)$ are therefore $2r$ of their own and $d-2r$ equal
# ones, $|\rho_1(t)-\epsilon|$: the silent directions do not turn, they only change scale.

# %%
rng = np.random.default_rng(0)
width, rank, scale, eta, steps = 12, 2, 0.8, 0.05, 400
decays = np.array([0.0, 0.05])  # both in one batch
depths = (2, 3) if QUICK else (2, 3, 4, 5, 6)
target = np.stack([with_values(rng, np.array([1.0, 0.6]), width, width)] * 2)

fig, axes = plt.subplots(
    2, len(depths), figsize=(2.6 * len(depths), 4.8), sharex=True, sharey=True, squeeze=False,
    layout="constrained",
)  # fmt: skip
for column, depth in zip(axes.T, depths, strict=True):
    layers = tuple(np.stack([scale * orthogonal(rng, width, width)] * 2) for _ in range(depth))
    path = [np.asarray(w) for w in deep.descend(layers, target, np.full(2, eta), decays, steps)]
    rho = silent_scales.silent_scales(np.full((2, depth), scale), np.full(2, eta), decays, steps)
    bases = deep.silent_bases(layers, target, rank)
    times = np.arange(0, steps + 1, 8)
    update = path[0][times] - path[0][0]
    moving = np.linalg.svd(update @ deep.complement(bases[0]), compute_uv=False)
    silent = np.linalg.svd(update @ bases[0], compute_uv=False)
    predicted = np.abs(np.asarray(rho)[times, :, 0] - scale)
    for row, axis in enumerate(column):
        axis.plot(times, moving[:, row], color="C0")
        axis.plot(times, silent[:, row], color="0.75", linewidth=4)
        axis.plot(times, predicted[:, row], "k--", linewidth=1)
        axis.set_title(f"L = {depth}, $\\lambda$ = {decays[row]:g}", fontsize=9)
    if depth == 3:
        kept = layers, path, bases, np.asarray(rho)
        off = np.abs(silent - predicted[..., None]).max()
        print(f"L = 3: silent values off |rho - eps| by at most {off:.0e}")
        values = np.linalg.svd(update[-1, 0], compute_uv=False)
        corrections["rank of an update (L = 3, d = 12, no decay)"] = (
            f"<= 2r = {2 * rank}",
            f"{np.sum(values > 1e-8)}",
            f"2r and d - 2r equal {predicted[-1, 0]:.3f}",
        )
axes[0, 0].plot([], [], color="C0", label="2r moving")
axes[0, 0].plot([], [], color="0.75", linewidth=4, label=f"d - 2r = {width - 2 * rank} silent")
axes[0, 0].plot([], [], "k--", linewidth=1, label="$|\\rho_1-\\epsilon|$")
fig.legend(loc="outside upper center", ncols=3, fontsize=9)
fig.supxlabel("step", fontsize=10)
fig.supylabel("singular values of $W_1(t)-W_1(0)$", fontsize=10)
plt.show()

# %% [markdown]
# The silent scales are not frozen without weight decay; they fall like
# $(\epsilon^{-p}+p\,\eta t)^{-1/p}$, $p=2(L-1)$ (`silent_scales.decay_law`), slower the deeper the
# network.
#
# **Exact compression.** The $2r$ directions can be trained alone: $L$ factors of size $2r\times2r$ in
# fixed frames give the same product at every step, with the silent part added in closed form.

# %%
layers, path, bases, rho = kept
factors, left, right = deep.compressed_start(layers, bases)
small = deep.descend(factors, left.mT @ target @ right, np.full(2, eta), decays, steps)
rest = rho.prod(axis=-1)[..., None, None] * (bases[-1] @ bases[0].mT)
rebuilt = left @ np.asarray(deep.product(small)) @ right.mT + rest
whole = np.asarray(deep.product(tuple(path)))
entries = [sum(w[0].size for w in run) for run in (layers, factors)]
print(f"entries trained: {entries[0]} in full, {entries[1]} compressed")
print(f"largest difference of the products over {steps} steps: {norm(whole - rebuilt).max():.0e}")

fig, axes = plt.subplots(1, 2, figsize=(9, 3.4), sharey=True, layout="constrained")
for row, axis in enumerate(axes):
    full = np.linalg.svd(whole[times, row], compute_uv=False)
    again = np.linalg.svd(rebuilt[times[::5], row], compute_uv=False)
    axis.semilogy(times, full, color="C0")
    axis.semilogy(times[::5], again, "o", color="C1", markersize=4)
    axis.set(title=f"L = 3, $\\lambda$ = {decays[row]:g}", xlabel="step")
axes[0].plot([], [], color="C0", label=f"full, three {width} x {width}")
axes[0].plot([], [], "o", color="C1", label=f"compressed, three {2 * rank} x {2 * rank}")
axes[0].set_ylabel("singular values of the product")
axes[0].legend(fontsize=8)
plt.show()

# %% [markdown]
# ## 2. Depth as a penalty
#
# The least energy of $L$ layers with product $M$ is a Schatten quasi-norm (corollary 1), with the
# constant $L/2$:
#
# $$ \min_{W_L\cdots W_1=M}\tfrac12\sum_l\|W_l\|_F^2=\tfrac L2\,\|M\|_{2/L}^{2/L}
#    =\tfrac L2\sum_i s_i^{2/L}. $$
#
# The survey prints $2/L$, which agrees at $L=2$ only. Balanced layers attain the minimum:

# %%
singular = np.array([4.0, 1.0, 0.5, 0.2])
matrix = with_values(rng, singular, 5, 4)
print(" L   balanced layers   (L/2) sum s^(2/L)   printed, 2/L")
for depth in (2, 3, 4, 6):
    layers = reg.balanced_layers(rng, matrix, depth, 6)
    assert norm(deep.product(layers) - matrix) < 1e-12
    spent = sum(squared_norm(w) for w in layers) / 2
    least = float(reg.least_energy(singular, depth))
    printed = 2 / depth * float(reg.schatten_power(singular, depth))
    print(f"{depth:2d}   {spent:15.6f}   {least:17.6f}   {printed:12.6f}")
    corrections[f"least energy, L = {depth}"] = (f"{printed:.3f}", f"{spent:.3f}", f"{least:.3f}")
for depth in (2, 3, 6):
    del corrections[f"least energy, L = {depth}"]

# %% [markdown]
# **What weight decay does to a singular value.** The objective decouples into
# $\tfrac12(s-\varphi)^2+\lambda\tfrac L2s^{2/L}$. For $L=2$ the minimiser is the soft threshold
# $(\varphi-\lambda)_+$. For $L\ge3$ it is 0 up to $\varphi_g$ and *jumps* there to $s_g>0$; a local
# minimum exists already from $\varphi_f<\varphi_g$ on (dashed), and descent that starts at the target
# ends there (circles, $L\le4$).

# %%
decay = 0.2
phi = np.linspace(0.0, 2.5, 1001)
started = np.linspace(0.1, 2.4, 12)
fig, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
for index, depth in enumerate((2, 3, 4) if QUICK else (2, 3, 4, 6)):
    best = np.array(reg.shrink(phi, decay, depth))
    gap = int(np.argmax(best > 0))
    if depth > 2:
        best[gap - 1] = np.nan  # the jump is not a line
    color = f"C{index}"
    axes[0].plot(phi, best, color=color, label=f"L = {depth}")
    local = np.asarray(reg.stationary(phi, decay, depth))
    axes[0].plot(phi, local, "--", color=color, linewidth=1)
    axes[1].plot(phi, phi - np.nan_to_num(best), color=color, label=f"L = {depth}")
    if depth < 6:
        layers = reg.balanced_layers(rng, np.diag(started), depth, len(started))
        run = deep.descend(layers, np.diag(started), 0.05, decay, 2000)
        end = np.diag(np.asarray(deep.product(tuple(w[-1] for w in run))))
        axes[0].plot(started, end, "o", color=color, markersize=5, fillstyle="none")
axes[0].plot(phi, phi, ":", color="0.5", label="no shrinkage")
axes[0].set(
    xlabel="$\\varphi$ of the target", ylabel="$s$ of the product", title="$\\lambda$ = 0.2"
)
axes[1].set(xlabel="$\\varphi$ of the target", ylabel="$\\varphi - s$", title="what is taken away")
axes[0].legend(fontsize=8)
axes[1].legend(fontsize=8)
plt.show()

shown = np.array([3.0, 1.5, 0.8, 0.3, 0.05])
print("phi   ", "  ".join(f"{v:6.3f}" for v in shown))
for depth in (2, 3, 4, 6):
    s = np.asarray(reg.shrink(shown, decay, depth))
    print(f"L = {depth} ", "  ".join(f"{v:6.3f}" for v in s))
two, four = (float(3.0 - reg.shrink(np.array([3.0]), decay, depth)[0]) for depth in (2, 4))
corrections["shrinkage of phi = 3, L = 4 against L = 2"] = (
    f">= {two:.3f}",
    f"{four:.3f}",
    "less, for phi >= 1 + lambda",
)

# %% [markdown]
# "Shrunk more aggressively with depth" is true below $\varphi=1+\lambda$, where all depths agree at
# $s=1$: there depth removes values altogether. Larger values are shrunk *less* with depth.
#
# **Collapse.** For $L\ge3$ the origin is a local minimum of its own: descent from
# $(\sum_l\|W_l\|_F^2)^{1/2}$ below `regularization.collapse_radius` loses everything. The survey does
# not mention it. For balanced layers along the top singular pair, as here, the radius is sharp.

# %%
phi_top, decay = 1.0, 0.2
radius = float(reg.collapse_radius(phi_top, decay, 3))
balanced = reg.balanced_layers(rng, phi_top * np.eye(1), 3, 1)
unit = np.sqrt(sum(squared_norm(w) for w in balanced))
sizes = np.array([0.5, 0.95, 1.05, 1.5, 2.5])
start = tuple(w * (sizes * radius / unit)[:, None, None] for w in balanced)
if deep.product(start)[0, 0, 0] < 0:
    start = (-start[0], *start[1:])
run = deep.descend(start, np.full((5, 1, 1), phi_top), np.full(5, 0.05), np.full(5, decay), 800)
reached = np.asarray(deep.product(run))[..., 0, 0]
fig, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
axis.plot(reached, label=[f"{size:g} x radius" for size in sizes])
axis.axhline(float(reg.stationary(phi_top, decay, 3)), color="k", linestyle=":", linewidth=1)
axis.set(
    xlabel="step", ylabel="$s$ of the product", title="L = 3, $\\lambda$ = 0.2, $\\varphi$ = 1"
)
axis.legend(title="norm of the start", fontsize=8)
plt.show()
assert (reached[-1][sizes < 1] < 1e-3).all()

# %% [markdown]
# ## 3. Classification: the largest margin, and layers of rank one
#
# Separable data, exponential loss, no weight decay. Once the loss is below 1, the product of the
# layers turns to the direction of the largest margin $\gamma$ (theorem 3, with that condition), every
# layer goes to rank one, and the margin over $\|\Theta\|^L$ to $\gamma L^{-L/2}$, which no layers can
# exceed. The data have a known $\gamma$; the rates are logarithmic in the exponential loss, so descent
# runs on its logarithm.

# %%
chunk, count = (50, 10) if QUICK else (50, 80)
fig, axes = plt.subplots(1, 3, figsize=(12, 3.6), layout="constrained")
for group in draw_separable(jax.random.key(1), 2):
    layers, depth, curves = group.layers, len(group.layers), []
    for _ in range(count):
        layers = margin.separate(layers, group.signed, group.step, steps=chunk).layers
        w = np.asarray(deep.product(layers))[0, 0]
        values = [np.linalg.svd(np.asarray(layer[0]), compute_uv=False) for layer in layers[:-1]]
        energy = sum(float(squared_norm(layer)[0]) for layer in layers)
        least = float(margin.least_margin(layers, group.signed)[0])
        limit = float(margin.margin_limit(group.margin[0], depth))
        curves.append(
            (
                1 - w @ group.direction[0] / np.linalg.norm(w),
                max(v[1] / v[0] for v in values),
                least / energy ** (depth / 2) / limit,
            )
        )
    time = chunk * np.arange(1, count + 1)
    angle, second, reached = np.array(curves).T
    label = f"L = {depth}"
    axes[0].loglog(time, angle, label=label)
    axes[1].loglog(time, second, label=label)
    axes[2].semilogx(time, reached, label=label)
    print(f"L = {depth}: 1 - cos {angle[-1]:.1e}, s2/s1 {second[-1]:.1e}, "
          f"margin {reached[-1]:.4f} of gamma L^(-L/2)")  # fmt: skip
axes[0].set(title="direction", ylabel="1 - cos(w, largest margin)")
axes[1].set(title="layers", ylabel="largest $s_2/s_1$ of a layer")
axes[2].set(title="normalised margin", ylabel="margin / $\\|\\Theta\\|^L$ over $\\gamma L^{-L/2}$")
axes[2].axhline(1, color="k", linestyle=":", linewidth=1)
for axis in axes:
    axis.set_xlabel("step")
axes[0].legend()
plt.show()

# %% [markdown]
# ## 4. Dropout
#
# With each hidden unit kept with probability $\mu$ and divided by it, the expected loss has a closed
# form (32). Over all masks of a random network:

# %%
group = draw_masked(jax.random.key(2), 1, widths=(8,))[0]
first, second = random_layers(group, 8, group.targets.shape[1])
states, chance = masks(8, group.keep)
masked = second * (states[:, None, None, :] / group.keep[0])
losses = squared_norm(group.targets - masked @ (first @ group.inputs))
exact = float(np.sum(chance * losses))
formula = float(dropout.expected_loss(first, second, *group[1:4])[0])
print(f"{len(states)} masks: mean loss {exact:.12f}, formula {formula:.12f}")

# %% [markdown]
# **The nuclear norm.** The survey concludes that dropout minimises $\|Y-Z\|_F^2+\nu\|Z\|_*^2$ with
# $\nu=(1-\mu)/\mu$ (33). The penalty is at least $\|Z\|_*^2$ *over the width*: at a fixed $\mu$ the
# weight is
#
# $$ \nu=\frac{1-\mu}{\mu d}, \qquad \operatorname{rank}Z\le d, $$
#
# and vanishes as the network gets wider. The printed weight holds at every width for
# $\mu(d)=p/(d-(d-1)p)$ (`dropout.keep_rate`). Minima found by L-BFGS from random layers:

# %%
values = np.array([3.0, 2.0, 1.0, 0.5])
inputs = with_values(rng, rng.uniform(0.5, 2, 5), 5, 6)
targets = with_values(rng, values, 4, 5) @ np.linalg.svd(inputs, full_matrices=False)[2]


@functools.partial(jax.jit, static_argnames="width")
def loss_and_slope(flat, keep, width):
    def loss(flat):
        first, second = jnp.split(flat, [5 * width])
        first, second = first.reshape(width, 5), second.reshape(4, width)
        return dropout.expected_loss(first, second, inputs, targets, keep)

    return jax.value_and_grad(loss)(flat)


def least_loss(width, keep):
    """The least expected loss found, and the singular values of Z there."""
    minimum = scipy.optimize.minimize(
        lambda flat: tuple(np.asarray(part) for part in loss_and_slope(flat, keep, width)),
        rng.standard_normal(9 * width), jac=True, method="L-BFGS-B",
        options={"maxiter": 5000, "maxfun": 10000, "ftol": 1e-15, "gtol": 1e-10},
    )  # fmt: skip
    first, second = np.split(minimum.x, [5 * width])
    product = second.reshape(4, width) @ first.reshape(width, 5) @ inputs
    return minimum.fun, np.linalg.svd(product, compute_uv=False)


def predicted_loss(keep, width, printed=False):
    weight = dropout.nuclear_weight(keep, 1 if printed else width)
    shrunk = dropout.squared_nuclear_values(values, weight, width)
    return float(dropout.squared_nuclear_objective(shrunk, values, weight))


keep = 0.5
widths = (2, 4, 8) if QUICK else (1, 2, 3, 4, 6, 10, 16, 24)
minima = [least_loss(width, keep)[0] for width in widths]
adapted = [least_loss(width, float(dropout.keep_rate(keep, width)))[0] for width in widths]
span = np.arange(1, widths[-1] + 1)
fig, axes = plt.subplots(1, 2, figsize=(11, 4), layout="constrained")
axes[0].plot(
    span, [predicted_loss(keep, d) for d in span], "C0", label="corrected, $(1-\\mu)/(\\mu d)$"
)
axes[0].plot(
    span, [predicted_loss(keep, d, True) for d in span], "C1--", label="printed, $(1-\\mu)/\\mu$"
)
axes[0].plot(widths, minima, "ko", label="found at $\\mu$ = 0.5")
axes[0].plot(widths, adapted, "k^", fillstyle="none", label="found at $\\mu(d)$, p = 0.5")
axes[0].set(xlabel="width d", ylabel="least expected loss", ylim=(0, None))
axes[0].legend(fontsize=8)
wide = widths.index(8) if 8 in widths else widths.index(10)
corrections[f"least dropout loss, d = {widths[wide]}, keep rate 0.5"] = (
    f"{predicted_loss(keep, widths[wide], True):.4f}",
    f"{minima[wide]:.4f}",
    f"{predicted_loss(keep, widths[wide]):.4f}",
)

width = 8
rates = np.array([0.9, 0.5, 0.2]) if QUICK else np.array([0.95, 0.9, 0.8, 0.6, 0.4, 0.2, 0.1])
weights = np.asarray(dropout.nuclear_weight(rates, width))
losses = np.stack([least_loss(width, rate)[1] for rate in rates])
curve = np.geomspace(weights.min() / 2, weights.max() * 2, 300)
paths = np.stack([dropout.squared_nuclear_values(values, weight, width) for weight in curve])
axes[1].semilogx(curve, paths, "C0")
axes[1].semilogx(weights, losses, "ko", markersize=5)
axes[1].plot([], [], "C0", label="closed form")
axes[1].plot([], [], "ko", label="found, d = 8")
axes[1].set(xlabel="$\\nu = (1-\\mu)/(\\mu d)$", ylabel="singular values of $Z$")
axes[1].legend(fontsize=8)
plt.show()
apart = max(abs(m - predicted_loss(keep, d)) for m, d in zip(minima, widths, strict=True))
print(f"found minima against the corrected form: at most {apart:.1e} apart")

# %% [markdown]
# The width is a condition: below the rank of the minimiser it is a constraint on the rank (left,
# $d<4$: the printed weight with $\mu(d)$ is then attained under that constraint). Right: the minimiser
# is a soft threshold $(s_i-\tau)_+$ with $\tau=\nu\sum_{i\le\rho}s_i/(1+\rho\nu)$.
#
# ## 5. Training in low-rank subspaces
#
# **GaLore is ReLoRA, for gradient descent.** Projecting gradients, $W\leftarrow W-\eta BB^\top G$, and
# training an adapter $A$ with frozen $B$ take the same path (theorem 4). With Adam it is the same path
# only if both carry the moments over a change of subspace; ReLoRA resets them. A tanh network, 4
# subspaces of 6 steps:

# %%
network = jax.tree.map(lambda part: part[0], draw_tanh(jax.random.key(3), 2))
phases = network.inputs.shape[0]


def squared(weights, batch):
    inputs, targets = batch
    return (
        jnp.mean(jnp.sum((weights[1] @ jnp.tanh(weights[0] @ inputs) - targets) ** 2, axis=0)) / 2
    )


def follow(phase, rule, reset=False, **options):
    """The weights after each subspace."""
    run = jax.jit(functools.partial(phase, squared, rule, **options))
    weights, moments, path = network.weights, None, []
    for inputs, targets in zip(network.inputs, network.targets, strict=True):
        slopes = jax.grad(squared)(weights, (inputs[0], targets[0]))
        bases = gp.gradient_bases(slopes, 2)
        if moments is None or reset:
            moments = gp.no_moments(weights, bases)
        weights, moments = run(weights, moments, bases, (inputs, targets), 0.05)
        path.append(weights)
    return path


def apart(one, other):
    return [
        sum(float(norm(np.asarray(a - b))) for a, b in zip(x, y, strict=True))
        for x, y in zip(one, other, strict=True)
    ]


descent = follow(gp.galore_phase, gp.descent_rule)
adam = follow(gp.galore_phase, gp.adam_rule)
runs = {
    "descent, B frozen": (descent, follow(gp.relora_phase, gp.descent_rule), "o-"),
    "Adam, moments carried": (adam, follow(gp.relora_phase, gp.adam_rule), "s-"),
    "Adam, moments reset": (adam, follow(gp.relora_phase, gp.adam_rule, reset=True), "v--"),
    "descent, B trained": (
        descent,
        follow(gp.relora_phase, gp.descent_rule, train_bases=True),
        "^--",
    ),
}
fig, axis = plt.subplots(figsize=(6.5, 3.8), layout="constrained")
for name, (one, other, style) in runs.items():
    axis.semilogy(range(1, phases + 1), np.maximum(apart(one, other), 1e-17), style, label=name)
axis.set(xlabel="subspaces used", ylabel="GaLore against adapters", xticks=range(1, phases + 1))
axis.set_ylim(1e-18, 1e3)
axis.legend(fontsize=8, ncols=2, loc="upper left")
plt.show()

# %% [markdown]
# **The stable rank of gradients.** For gradients linear in the weights,
# $G_{t+1}=G_t-\eta\sum_iB_iG_tC_i$, the lemma behind GaLore (arXiv 2403.03507, 3.3) says
# $\mathrm{sr}(G_t)\le\mathrm{sr}(G^p)+q^{2t}\|G^o\|_F^2/\|G^p\|_2^2$, with $G^p$ the part in the slowest
# eigenspace and $G^o$ the rest. It needs $\|G_t\|_2\ge(1-\eta\lambda_1)^t\|G^p\|_2$, which a single
# product $BGC$ gives and a sum does not: $G^o$ may cancel a part of the top singular value. What holds
# in general is
#
# $$ \mathrm{sr}(G_t)\le\frac{\|G^p\|_F^2+q^{2t}\|G^o\|_F^2}{(\|G^p\|_2-q^t\|G^o\|_F)^2}. $$

# %%
problem = draw_linear(jax.random.key(4), 20 if QUICK else 200, terms=3, adverse=True)
last = 60
path = np.asarray(gradient_rank.linear_gradients(*problem[:4], steps=last))
measured = np.asarray(stable_rank(np.linalg.svd(path, compute_uv=False))).T
top = np.linalg.svd(problem.kept, compute_uv=False)[:, None]
sides = top, problem.rest[:, None], problem.ratio[:, None], np.arange(last + 1)
printed, corrected = (
    np.asarray(bound(*sides))
    for bound in (gradient_rank.stable_rank_bound, gradient_rank.stable_rank_bound_any)
)
worst = int(np.argmax((measured / printed).max(axis=1)))
fig, axis = plt.subplots(figsize=(6, 3.6), layout="constrained")
for side, style, label in (
    (measured, "k-", "measured"),
    (printed, "C1--", "lemma 3.3 as printed"),
    (corrected, "C0-", "corrected"),
):
    axis.plot(side[worst], style, label=label)
axis.axhline(float(stable_rank(top[worst])[0]), color="0.5", linestyle=":", label="sr($G^p$)")
axis.set(xlabel="step t", ylabel="stable rank of $G_t$", title="sum of three products")
axis.legend(fontsize=8)
plt.show()
print(f"lemma as printed violated in {np.mean((measured > printed * (1 + 1e-9)).any(axis=1)):.0%}, "
      f"corrected bound in {np.mean((measured > corrected * (1 + 1e-9)).any(axis=1)):.0%} "
      f"of {len(measured)} instances with G^o against the top pair of G^p")  # fmt: skip
at = int(np.argmax((measured / printed)[worst]))
corrections[f"stable rank of a gradient, sum of 3 products, t = {at}"] = (
    f"<= {printed[worst, at]:.4f}",
    f"{measured[worst, at]:.4f}",
    f"<= {corrected[worst, at]:.4f}",
)

# %% [markdown]
# **Masked inputs.** The best linear reconstruction from inputs kept with probability $\mu$ is a ridge
# regression on themselves, $W=S(S+\tfrac{1-\mu}{\mu}\operatorname{diag}S)^{-1}$. With equal variances it
# steepens the spectrum, the more the fewer inputs are kept; with unequal variances the stable rank may
# rise before it falls.

# %%
fig, axes = plt.subplots(1, 2, figsize=(10, 3.6), layout="constrained")
inputs = draw_inputs(jax.random.key(5), 1).inputs[0]
for rate in (1.0, 0.7, 0.4, 0.1):
    reconstruction = masking.masked_reconstruction(inputs @ inputs.T, rate)
    spectrum = np.linalg.svd(reconstruction @ inputs, compute_uv=False)
    axes[0].semilogy(
        range(1, 7),
        spectrum / spectrum[0],
        "o-",
        label=f"$\\mu$ = {rate:g}: {float(effective_rank(spectrum)):.2f}",
    )
axes[0].set(xlabel="index", ylabel="singular values of $WX$ (relative)", title="equal variances")
axes[0].legend(title="effective rank", fontsize=8)
rates = np.linspace(0.05, 1, 40)
for draw, color, name in ((draw_inputs, "C0", "equal"), (draw_unequal, "C1", "unequal")):
    for index, inputs in enumerate(draw(jax.random.key(6), 5).inputs):
        models = jax.vmap(masking.masked_reconstruction, (None, 0))(inputs @ inputs.T, rates)
        spectra = np.linalg.svd(np.asarray(models) @ inputs, compute_uv=False)
        label = f"{name} variances" if index == 0 else None
        axes[1].plot(rates, stable_rank(spectra), color=color, linewidth=1, label=label)
axes[1].set(
    xlabel="share of inputs kept $\\mu$", ylabel="stable rank of $WX$", title="5 data sets each"
)
axes[1].legend(fontsize=8)
plt.show()

# %% [markdown]
# ## 6. Printed, measured, corrected
#
# Two more of the same kind. The loss $\|WX-Y\|_F^2$ is *not* $\|W-\Phi\|_F^2$ up to a constant (5, 6):
# under a constraint on the rank the minimiser is $[\Phi S^{1/2}]_rS^{-1/2}$, $S=XX^\top$. And the
# recursion of the silent scales is printed without $\eta$ before the product.

# %%
inputs = with_values(rng, np.geomspace(5.0, 0.2, 6), 6, 20)
outputs = rng.standard_normal((5, 20))
plain, whitened = (
    squared_norm(least_squares.best_of_rank(inputs, outputs, 2, whiten) @ inputs - outputs)
    for whiten in (False, True)
)
seen = outputs @ np.linalg.svd(inputs, full_matrices=False)[2].T
tail = np.sum(np.linalg.svd(seen, compute_uv=False)[2:] ** 2)
least = tail + squared_norm(outputs) - squared_norm(seen)
corrections["least loss of rank 2, X X^T != c I"] = (
    f"{plain:.4f}",
    f"{whitened:.4f}",
    f"{least:.4f}",
)

after = 0.8 * (1 - 0.8**4)  # eta left out, L = 3
layers, path, bases, rho = kept
stretch = np.sum((path[0][1, 0] @ bases[0][0]) * bases[1][0], axis=0).mean()
corrections["silent scale after one step, L = 3"] = (
    f"{after:.4f}",
    f"{stretch:.4f}",
    f"{rho[1, 0, 0]:.4f}",
)

print(f"{'statement':54s} {'printed':>12s} {'measured':>10s}   corrected")
for name, (printed, measured, corrected) in corrections.items():
    print(f"{name:54s} {printed:>12s} {measured:>10s}   {corrected}")

# %% [markdown]
# ## 7. The evidence
#
# All claims of these subjects. The status says what became of the printed statement; where it is
# "corrected", the printed form is the control that must fail.

# %%
subjects = (
    "least_squares", "deep_linear", "regularization", "margin", "dropout", "masking",
    "gradient_projection", "cost",
)  # fmt: skip
claims = [claim for name, claim in registry().items() if name.split(".")[0] in subjects]
if QUICK:
    some = ("best_of_rank", "update_rank", "variational_bound", "penalty_bound", "minimiser")
    claims = [claim for claim in claims if claim.name.split(".")[1] in some]
rows = [(claim, check(claim, jax.random.key(0), trials=16 if QUICK else 64)) for claim in claims]
print(f"{'claim':41s} {'status':16s} {'instances':>9s} {'violations':>10s}  control caught")
for claim, row in rows:
    print(
        f"{claim.name:41s} {claim.status:16s} {row.premises_met:9d} {row.violations:10d}  "
        f"{row.control_share:.0%}"
    )
assert all(row.holds for _, row in rows)

# %% [markdown]
# **What holds and what does not**
#
# | statement | finding |
# |---|---|
# | only $2r$ directions move (theorem 2) | exact for scaled orthogonal starts, $2r<d$; Gaussian starts are the control |
# | "updates have rank at most $2r$" | $2r$ values of their own and $d-2r$ equal ones, $\lvert\rho_l-\epsilon_l\rvert$, whose scale changes also without weight decay |
# | silent scales | the recursion needs $\eta$ before the product; $\rho\approx\epsilon(1-\eta\lambda)^t$ only for $\epsilon<1$ and depth |
# | compression to $2r\times2r$ factors | exact at every step |
# | $\min\tfrac12\sum\lVert W_l\rVert^2$ | $(L/2)\lVert M\rVert_{2/L}^{2/L}$; the printed $2/L$ agrees at $L=2$ only |
# | "shrunk more aggressively with depth" | small values only; $\varphi\ge1+\lambda$ are shrunk less. $L\ge3$: a jump, and small starts collapse |
# | largest margin, layers of rank one (theorem 3) | hold once the loss is below 1 |
# | dropout is $(1-\mu)/\mu\,\lVert Z\rVert_*^2$ | over the width $d$; needs $d\ge\operatorname{rank}Z$ and $Z$ in the row space of $X$; for two dropout layers a lower bound |
# | GaLore is ReLoRA (theorem 4) | for descent; for Adam only with moments carried over |
# | stable rank of gradients falls (lemma 3.3) | one product; sums need the corrected bound |
# | masking lowers the effective rank | proved for linear models with equal variances; with unequal ones the stable rank may rise |
