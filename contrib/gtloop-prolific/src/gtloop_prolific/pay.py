"""What a submission is paid: whole cents or pence for a number of images, and Prolific's fee on top.

A submission of n images pays ``n`` times what one image costs, rounded down to a whole cent; one image costs what a
full submission does, divided by its images. So no submission costs more than what is reserved for its answers.
"""

from __future__ import annotations

from fractions import Fraction
from math import ceil, sqrt

from gtloop.interfaces import Quote

from gtloop_prolific.options import ProlificOptions


class Pay:
    """Rewards of a run.

    Attributes:
        answer: Micro-dollars that one image costs, the fee excluded.

    Args:
        price: Micro-dollars that the run offers for one answer.
        most: Micro-dollars that one answer may cost with its fee; None: whatever it costs.
    """

    def __init__(self, options: ProlificOptions, price: int, most: int | None = None) -> None:
        self._options = options
        self.cent = round(10_000 * options.usd_rate)
        """Micro-dollars in a cent (or penny) of the account's currency."""
        self.share = Fraction(str(options.fee_share)) * (1 + Fraction(str(options.vat_share)))
        full = max(ceil(Fraction(options.images * price, self.cent)), self.least(options.images))
        self.answer = ceil(Fraction(full * self.cent, options.images))
        if most is not None and self.answer + self._fee(self.answer) > most:
            self.answer = int(most / (1 + self.share))

    def minutes(self, images: int) -> int:
        """Estimated time."""
        return max(1, ceil(images * self._options.seconds_per_image / 60))

    def most_minutes(self, images: int) -> int:
        """Time after which a submission runs out: the least that Prolific takes for the estimate."""
        return ceil(2 + 2 * self.minutes(images) + 2 * sqrt(self.minutes(images)))

    def least(self, images: int) -> int:
        """Cents that a submission has to pay at least."""
        return max(1, ceil(Fraction(str(self._options.least_hour)) * 100 * self.minutes(images) / 60))

    def reward(self, images: int) -> int:
        """Cents of a submission."""
        return images * self.answer // self.cent

    def lawful(self, images: int) -> bool:
        """Whether Prolific takes a study with so few images."""
        return self.reward(images) >= self.least(images)

    def cost(self, reward: int) -> Quote:
        """What a submission costs, micro-dollars: to the participant, and Prolific's fee with VAT."""
        paid = reward * self.cent
        return Quote(paid, self._fee(paid))

    def quote(self) -> Quote:
        """The most that one answer costs."""
        return Quote(self.answer, self._fee(self.answer))

    def _fee(self, paid: int) -> int:
        return ceil(paid * self.share)


def split(total: int, n: int) -> list[int]:
    """A sum in n parts that differ by one at most."""
    return [total // n + (k < total % n) for k in range(n)]


def plan_sets(free: list[int], most: int) -> dict[int, int]:
    """How many submissions of which sizes give out all there is.

    Args:
        free: For each image, to how many people it is still to be given.
        most: Images in a submission, at most.

    Returns:
        Size to number of submissions; sizes differ by one at most. Nobody gets an image twice: with sets of equal size
        that take the most wanted images first, that can always be done (Gale and Ryser).
    """
    total = sum(free)
    if not total:
        return {}
    sets = max(ceil(total / most), max(free))
    size, larger = divmod(total, sets)
    return {s: n for s, n in ((size + 1, larger), (size, sets - larger)) if n}
