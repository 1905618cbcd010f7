"""`python -m simulated`: simulate seeds, one after another or several at once."""

from __future__ import annotations

import argparse
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Iterator
from functools import partial

from simulated import harness, mutants
from simulated.simulation import simulate

_MOST_SECONDS = 60


def _run(seed: int) -> tuple[int, list[str], float]:
    began = time.monotonic()
    signal.alarm(_MOST_SECONDS)
    try:
        violations = simulate(seed).violations
    except Exception as error:  # noqa: BLE001 - of the simulation itself
        violations = [f"the simulation failed: {type(error).__name__}: {error}"]
    finally:
        signal.alarm(0)
    return seed, violations, time.monotonic() - began


_installed: list[object] = []


def _install() -> None:
    signal.signal(signal.SIGALRM, _too_long)
    manager = harness.installed()
    manager.__enter__()
    # Collected, it would put everything back.
    _installed.append(manager)


def _too_long(*_: object) -> None:
    raise TimeoutError("a seed took too long by the real clock")


def first_seed(mutant: mutants.Mutant, seeds: range) -> tuple[int | None, str]:
    """The first of these seeds that finds the mutant and nothing without it, and what the oracle said."""
    for seed in seeds:
        try:
            with mutants.applied(mutant):
                _, violations, _ = _run(seed)
        except mutants.Unknown as error:
            return None, str(error)
        if violations and not _run(seed)[1]:
            return seed, violations[0]
    return None, ""


def _first_seed(number: int, seeds: range) -> tuple[int, int | None, str]:
    return number, *first_seed(mutants.MUTANTS[number], seeds)


def _mutants(seeds: range, processes: int, only: str) -> int:
    missed = 0
    chosen = [number for number, one in enumerate(mutants.MUTANTS) if only in one.name]
    with multiprocessing.get_context("fork").Pool(processes, initializer=_install, maxtasksperchild=None) as pool:
        for number, seed, said in pool.imap_unordered(partial(_first_seed, seeds=seeds), chosen):
            missed += seed is None
            print(f"{mutants.MUTANTS[number].name}\n    seed {seed}: {said[:200]}", flush=True)
    print(f"{len(chosen) - missed} of {len(chosen)} mutants found within {len(seeds)} seeds")
    return 1 if missed else 0


def _results(seeds: range, processes: int) -> Iterator[tuple[int, list[str], float]]:
    if processes == 1:
        signal.signal(signal.SIGALRM, _too_long)
        with harness.installed():
            yield from map(_run, seeds)
        return
    with multiprocessing.get_context("fork").Pool(processes, initializer=_install) as pool:
        yield from pool.imap(_run, seeds, chunksize=4)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m simulated", description=__doc__)
    parser.add_argument("--seeds", type=int, default=2000, help="how many")
    parser.add_argument("--first", type=int, default=1)
    parser.add_argument("--seed", type=int, help="this one alone, with its trace")
    parser.add_argument("--processes", type=int, default=os.cpu_count() or 1)
    parser.add_argument(
        "--mutants", action="store_true", help="take each mend out, and look for the seed that finds it"
    )
    parser.add_argument("--mutant", default="", help="only those with this in their name")
    parser.add_argument("--keep-going", action="store_true")
    given = parser.parse_args()
    if given.mutants and given.seed is None:
        return _mutants(range(given.first, given.first + given.seeds), given.processes, given.mutant)
    if given.seed is not None:
        with harness.installed():
            result = simulate(given.seed)
        print(result.report(most=1_000_000))
        print(f"{result.steps} steps, {result.seconds:.1f} virtual seconds, trace {result.digest[:16]}")
        return 1 if result.violations else 0
    began, failed = time.monotonic(), 0
    for seed, violations, _ in _results(range(given.first, given.first + given.seeds), given.processes):
        if violations:
            failed += 1
            print(f"seed {seed}: {violations[0]}" + (f" (and {len(violations) - 1} more)" if violations[1:] else ""))
            if not given.keep_going and failed >= 5:
                break
    print(f"{given.seeds} seeds in {time.monotonic() - began:.1f} s, {failed} failed")
    if failed:
        print("replay one with: make simulate-queue SEED=n")
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
