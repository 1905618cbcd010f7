"""Some seeds of the simulation, that a seed is a whole run, and that it finds what was mended when the mend is out.

`make simulate-queue` runs thousands.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
from simulated import mutants
from simulated.__main__ import first_seed
from simulated.simulation import simulate

SEEDS = range(1, 41)
WITHIN = range(1, 101)
QUICKLY_FOUND = (
    "a caller that left is stored",
    "a caller that leaves during its statement is told no",
    "a lost answer to a claim is forgotten",
    "a claim under way is taken for a lost one",
    "a repeated store does not look for its own",
    "what a row holds is taken for an outage",
)
"""A few of the mutants that `make simulate-queue MUTANTS=1` looks for."""


@pytest.mark.parametrize("first", range(SEEDS.start, SEEDS.stop, 10))
def test_seeds(first: int, installed: None) -> None:
    for seed in range(first, first + 10):
        result = simulate(seed)
        assert not result.violations, result.report()


@pytest.mark.parametrize("seed", [3, 7, 14])
def test_a_seed_is_a_whole_run(seed: int, installed: None) -> None:
    first, again, other = simulate(seed), simulate(seed), simulate(seed + 1)
    assert first.trace == again.trace
    assert first.digest != other.digest


def test_nor_does_it_depend_on_the_hash_of_a_text() -> None:
    folder = Path(__file__).parent
    code = "from simulated import harness\nfrom simulated.simulation import simulate\nwith harness.installed():\n"
    code += "    print([simulate(seed).digest for seed in range(1, 9)])"
    printed = {
        subprocess.run(
            [sys.executable, "-c", code],
            env={**os.environ, "PYTHONPATH": f"{folder}{os.pathsep}{folder.parents[1]}", "PYTHONHASHSEED": hash_seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for hash_seed in ("0", "1", "random")
    }
    assert len(printed) == 1


@pytest.mark.parametrize("name", QUICKLY_FOUND)
def test_a_mend_taken_out_is_found(name: str, installed: None) -> None:
    [mutant] = [one for one in mutants.MUTANTS if one.name == name]
    seed, said = first_seed(mutant, WITHIN)
    assert seed is not None, said


@pytest.mark.parametrize("mutant", mutants.MUTANTS, ids=lambda mutant: mutant.name)
def test_every_mend_is_where_its_mutant_takes_it_out(mutant: mutants.Mutant, installed: None) -> None:
    with mutants.applied(mutant):
        pass
