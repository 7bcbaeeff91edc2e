"""Times are those of a clock, taken in turns."""

import numpy as np
import pytest

from kdpipe.export import verify


def test_medians_and_quartiles_of_rounds_in_turns_after_a_warm_up(monkeypatch):
    now, requests = [0.0], []
    monkeypatch.setattr(verify.time, "perf_counter", lambda: now[0])
    monkeypatch.setattr(verify, "MEASURE_SECONDS", 0.0)  # so that it is the fewest rounds

    def one(name, costs):
        def answer(pixels):
            assert pixels.dtype == np.uint8 and pixels.shape[1:] == (3, 5, 4)
            requests.append((name, len(pixels)))
            now[0] += next(costs) * len(pixels)

        return answer

    # Three rounds of warm-up, each of two batches, dear; then five rounds of 1 to 5 ms.
    each = [9.0] * 6 + [ms / 1000 for ms in (5, 5, 1, 1, 4, 4, 2, 2, 3, 3)]
    twice = [2 * cost for cost in each]
    actual = verify.measure_latency(
        {"a": one("a", iter(each)), "b": one("b", iter(twice))}, (3, 5, 4)
    )
    times = actual["a"][1]
    assert (times.median, times.low, times.high) == pytest.approx((3.0, 2.0, 4.0))
    assert times.rounds == 5
    assert actual["b"][64].median == pytest.approx(2 * 64 * 3.0)
    rounds = [requests[start : start + 4] for start in range(0, len(requests), 4)]
    assert len(rounds) == 8 and all(len(set(turns)) == 4 for turns in rounds)
    assert len({turns[0] for turns in rounds}) == 4, "each of them is first at times"
