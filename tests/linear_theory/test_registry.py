"""Every claim holds and its control is caught; a claim stands in the folder that it is named by."""

import pathlib
import re

import jax
import pytest

import linear_theory
from linear_theory import check, registry
from linear_theory.topics import PAPERS, modules

CLAIMS = {
    claim.name: (module.__name__.split("."), claim)
    for module in modules("claims")
    for claim in module.CLAIMS
}
# A second draw of the claims on networks and on adaptation, whose instances are the most diverse.
AGAIN = ("adaptation", "structure")
# Of 32 or more instances; the cascade's and perturbation theory's premises are met more often.
PREMISES = {"perturbation": 25, "sequential": 25}
# Instances of these are networks, each trained up to four times.
TRAINED = [f"masking.{name}" for name in ("autoencoder", "language_model", "masked_inputs")]
TRAINED += ["masking.from_start"]
NETWORKS = 4
# Instances of these are programs of a few sizes, each compiled.
COMPILED = ["cost.refresh", "cost.checkpoints"]
FEW = dict.fromkeys(TRAINED, NETWORKS) | dict.fromkeys(COMPILED, 2)


def cases():
    for name, ((_, paper, *_), claim) in CLAIMS.items():
        # An average needs more samples for its 3 standard errors + 1% to mean something, and a rate
        # only counts where its mode is alone in the end, as it is in most runs of the solvers:
        # those are as many for all claims, so that these share the programs of the runs.
        many = claim.kind == "mean" or (claim.kind == "fit" and paper != "parallel")
        trials, premises = 128 if many else 32, PREMISES.get(paper, 20)
        few = 2 * (FEW[name],) if name in FEW else (trials, premises)
        yield pytest.param(claim, 11, *few, id=f"{name}-11")
        if paper in AGAIN and name not in COMPILED:
            yield pytest.param(
                claim, 12, trials, premises, id=f"{name}-12", marks=pytest.mark.thorough
            )


@pytest.mark.parametrize(("claim", "seed", "trials", "premises"), list(cases()))
def test_claim_holds_and_its_control_is_caught(claim, seed, trials, premises):
    row = check(claim, jax.random.key(seed), trials)
    assert row.violations == 0
    assert row.tolerance_explained, f"only {row.tolerance_used:.1e} of the tolerance is used"
    assert row.premises_met >= premises
    assert row.control_caught, f"the control fails at {row.control_share:.1%} of its instances"
    assert row.holds


def test_a_claim_is_named_by_the_folder_it_stands_in():
    for name, (place, _) in CLAIMS.items():
        assert name.partition(".")[0] == place[-2], f"{name} stands in {'.'.join(place)}"


def test_the_walk_finds_every_list_of_claims():
    root = pathlib.Path(linear_theory.__file__).parent
    listed = {
        str(path.relative_to(root.parent).with_suffix("")).replace("/", ".")
        for path in root.rglob("*.py")
        if re.search(r"^CLAIMS\b", path.read_text(), re.MULTILINE)
    }
    assert listed == {module.__name__ for module in modules("claims")}


def test_the_registry_has_all_of_them_in_the_order_of_the_papers():
    assert list(registry()) == list(CLAIMS)
    papers = list(dict.fromkeys(place[1] for place, _ in CLAIMS.values()))
    assert papers == list(PAPERS)
