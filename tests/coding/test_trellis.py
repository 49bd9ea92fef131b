"""The trellis codes: each walk satisfies Ungerboeck's parity checks, and walks are as far apart as he says."""

from __future__ import annotations

import heapq

import numpy as np
import pytest

from embcompress.coding.symbols import POLYNOMIALS, trellis_of


@pytest.mark.parametrize("states", [4, 8, 32, 256])
def test_subsets_are_those_of_walks(states: int) -> None:
    """Going from every state with even and odd symbols leads to every state twice, and by the subsets that it tells."""
    trellis = trellis_of(states)
    assert trellis.states == states
    came: dict[int, list[tuple[int, int]]] = {state: [] for state in range(states)}
    for state in range(states):
        for odd in range(2):
            after = (2 * state + (odd ^ int(trellis.parities[state]))) % states
            came[after].append((state, int(trellis.sets[state]) + 2 * odd))
    for after, ways in came.items():
        expected = [(after >> 1 | which * states // 2, int(trellis.subsets[after, which])) for which in range(2)]
        assert sorted(ways) == sorted(expected)
    assert trellis.sets.sum() == states // 2


@pytest.mark.parametrize("states", [4, 8, 32, 256])
def test_walks_satisfy_the_parity_checks(states: int) -> None:
    """The bits z0 = set and z1 = k mod 2 of a random walk sum up to 0 under h0 and h1 at every place."""
    trellis = trellis_of(states)
    odds = np.random.default_rng(states).integers(0, 2, 1000).tolist()
    state, sets = 0, []
    for odd in odds:
        sets.append(int(trellis.sets[state]))
        state = (2 * state + (odd ^ int(trellis.parities[state]))) % states
    first, second = POLYNOMIALS[states]
    memory = states.bit_length() - 1
    for position in range(memory, 1000):
        terms = [
            (first >> back & 1) * sets[position - back] + (second >> back & 1) * odds[position - back]
            for back in range(memory + 1)
        ]
        assert sum(terms) % 2 == 0


@pytest.mark.parametrize(("states", "squared"), [(4, 9), (8, 10), (32, 13), (256, 17)])
def test_walks_are_as_far_apart_as_published(states: int, squared: int) -> None:
    """The least squared distance of two walks that part and meet again, in squared steps: Ungerboeck (1987), table I.

    By Dijkstra's algorithm over pairs of states. Symbols that differ in nothing but their level are 16 apart, which is
    less than what 256 states reach: the distance of walks is what the code is chosen for.
    """
    trellis = trellis_of(states)
    ways = [
        [
            ((2 * state + (odd ^ int(trellis.parities[state]))) % states, int(trellis.sets[state]) + 2 * odd)
            for odd in range(2)
        ]
        for state in range(states)
    ]
    heap = []
    for state in range(states):
        (one, some), (other, others) = ways[state]
        heap.append(((2 - abs(abs(some - others) - 2)) ** 2, one, other))
    heapq.heapify(heap)
    seen = set()
    while True:
        distance, one, other = heapq.heappop(heap)
        if one == other:
            break
        if (one, other) in seen:
            continue
        seen.add((one, other))
        for after, some in ways[one]:
            for after_other, others in ways[other]:
                heapq.heappush(heap, (distance + (2 - abs(abs(some - others) - 2)) ** 2, after, after_other))
    assert distance == squared
