"""Money and sizes of submissions: whole cents, never more than what is reserved, never less than Prolific's least."""

from __future__ import annotations

from math import ceil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gtloop_prolific.options import ProlificOptions
from gtloop_prolific.pay import Pay, plan_sets, split

PRICES = st.integers(0, 3_000_000)


@given(PRICES, st.integers(1, 60), st.floats(1, 300), st.sampled_from([1.0, 1.27]), st.floats(0, 1), st.integers(1, 60))
def test_no_submission_costs_more_than_its_answers(
    price: int, images: int, seconds: float, rate: float, fee: float, n: int
) -> None:
    pay = Pay(ProlificOptions(images=images, seconds_per_image=seconds, usd_rate=rate, fee_share=fee), price)
    quote, n = pay.quote(), min(n, images)
    assert quote.answer >= price
    paid, taken = pay.cost(pay.reward(n))
    assert paid <= n * quote.answer
    assert taken <= n * quote.fee
    for total, most in ((paid, quote.answer), (taken, quote.fee)):
        parts = split(total, n)
        assert sum(parts) == total
        assert max(parts) <= most
    assert pay.lawful(images), "a full submission pays Prolific's least at least"
    assert pay.cost(pay.reward(images)).answer >= images * price


@given(PRICES, st.integers(1, 50), st.integers(1, 5_000_000))
def test_what_is_reserved_bounds_the_price(price: int, images: int, most: int) -> None:
    quote = Pay(ProlificOptions(images=images), price, most).quote()
    assert quote.answer + quote.fee <= most + 1 or quote == Pay(ProlificOptions(images=images), price).quote()


@given(st.lists(st.integers(1, 9), max_size=40), st.integers(1, 20))
def test_sets_give_out_everything_and_nobody_gets_an_image_twice(free: list[int], most: int) -> None:
    plan = plan_sets(free, most)
    assert sum(size * n for size, n in plan.items()) == sum(free)
    assert all(1 <= size <= min(most, len(free)) for size in plan)
    left = list(free)
    for size in sorted((size for size, n in plan.items() for _ in range(n)), reverse=True):
        rows = sorted(range(len(left)), key=lambda i: -left[i])[:size]  # the most wanted first, as the desk does
        assert all(left[i] > 0 for i in rows), "a whole set is left for everybody"
        for i in rows:
            left[i] -= 1
    assert not any(left)


def test_a_set_is_about_as_large_as_asked_for() -> None:
    assert plan_sets([1] * 97, 10) == {10: 7, 9: 3}
    assert plan_sets([3, 3, 3], 10) == {3: 3}
    assert plan_sets([], 10) == {}


def test_the_wage_decides_where_the_price_is_low() -> None:
    pay = Pay(ProlificOptions(images=20, seconds_per_image=30, least_hour=12), 10_000)
    assert pay.minutes(20) == 10
    assert pay.reward(20) == 200
    assert pay.quote() == (100_000, ceil(100_000 * 0.428))
    assert not pay.lawful(1), "ten cents for a minute are too few"
    assert pay.lawful(2)


@pytest.mark.parametrize(
    ("given_", "why"),
    [
        ({"currency": "GBP"}, "give usd_rate"),
        ({"public_url": "https://x.org/path"}, "scheme and host only"),
        ({"filters": [{"filter_id": "age"}]}, "a filter has filter_id and one of"),
        ({"devices": "desktop,phone"}, "desktop"),
    ],
)
def test_options_say_what_is_wrong(given_: dict[str, object], why: str) -> None:
    with pytest.raises(ValueError, match=why):
        ProlificOptions(**given_)
