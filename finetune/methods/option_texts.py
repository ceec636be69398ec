"""The help of options that several methods share: one text each, so that they are one flag."""

RANK = "number of components (the rank) of every module"
RANKS = (
    "file with a rank for each module, in place of --rank, which stays in the scale: result.json "
    "of a run, compression.json of launch.adapter, or any JSON object of ranks by module path"
)
FIRST_RANK = "number of components of every module when training begins"
LARGEST_RANK = "largest number of components that a module may have"
ROOM = "by default twice a module's share of the budget, at least"
AUTO = (
    "auto: of the default as many as lower the loss beyond the noise of the batches "
    "(--significance=0.05)"
)
BUDGET = "number of components of all modules together; by default two per module"
ALPHA = "numerator of the scale alpha / rank of the change"
STABILISED = "take the scale alpha / sqrt(rank) in place of alpha / rank"
SCALE = "scale that every component is multiplied by, whatever the rank"
STD = "standard deviation of the first entries of the factors that are drawn"

ADVANCE = "train the next component in private before it is published"
PRIVATE_EVERY = (
    "optimiser steps between those that train the private components too, which costs a pass of "
    "its own; by default 2 with --phase=joint, and 1, all that is allowed, otherwise"
)
WAY = "how the levels are computed on a device: one after the other, or as a batch"
EVERY = "optimiser steps between growths; by default such that growth ends at 60% of the run"
GROW = "number of modules that grow at a time; by default a ninth of the modules"
T_INIT = "optimiser steps before ranks begin to change; by default the method chooses"
SCORE_EVERY = "optimiser steps between measurements of the modules' scores"
SIGNIFICANCE = (
    "level, between 0 and 1, at which a component has to lower the loss beyond the noise of the "
    "batches to be added; by default all components are"
)
BETA = "decay per step of the running averages of the score"
ORTHOGONALITY = "weight of the penalty that keeps factors orthonormal"
PENALTY = "form of the penalty: mean of norms (published code) or sum of squares (paper)"

SCALING = "size of the first factors: stable out^(1/4) / sqrt(gamma), or unit 1"
GAMMA = "number whose square root divides the first factors"
SVD = "how singular vectors of the gradient are found"
SVD_ITERATIONS = "number of subspace iterations of --svd=randomised"

EPSILON = "small number added to the root that the optimiser divides by"
MOMENTS = "what becomes of Adam's averages when a basis is taken anew"
RATES = (
    "learning rates of the links: the run's schedule warmed up again (jagged), or one per link "
    "(own)"
)
