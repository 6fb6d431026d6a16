"""How a run goes on after losses that are not finite and images that cannot be read, or ends."""

import logging

from mae_bench.kit.guard import Guard
from mae_bench.kit.keeper import Keeper

log = logging.getLogger(__name__)


class DivergedError(Exception):
    """As many losses in a row as allowed were not finite; `step` steps are done."""

    def __init__(self, step: int) -> None:
        super().__init__(f"losses in a row, up to step {step}, are not finite")
        self.step = step


def go_back(keeper: Keeper, guard: Guard, step: int) -> int:
    """Return the step of the newest checkpoint, whose state is taken, once; then ValueError.

    Without one the run goes on from `step`: steps left out did not touch the weights. The state is
    saved, so that a kill brings back neither the order of the images nor the counts of before.
    """
    in_row = guard.in_row
    if keeper.extra.get("detour", 0):
        raise ValueError(
            f"the run diverged: {in_row} losses in a row, up to step {step}, are not finite, again "
            "in another order; lower the learning rate or use --precision fp32"
        )
    guard.read_all()
    found = keeper.resume()
    keeper.extra |= {"detour": 1, "went_back": int(found > 0)}
    keeper.ranks.wait()  # until all have read what the save may replace
    guard.forget()
    keeper.save(found or step)
    log.warning(
        "%d losses in a row not finite: on from step %d, other order", in_row, found or step
    )
    return found or step


class Unreadable:
    """The training images in whose place another was taken, over all ranks and attempts."""

    def __init__(self, keeper: Keeper, most: int) -> None:
        self.keeper, self.most = keeper, most
        self.found: dict[int, str] = {}
        """Those of this process: index, and what is wrong."""
        self.named: dict[int, str] = keeper.extra.get("unreadable", {})
        """Those that are counted."""
        self._counted = 0

    def note(self) -> None:
        """Put them into what the keeper saves."""
        self.keeper.extra["unreadable"] = self.named

    @property
    def uncounted(self) -> int:
        """Return how many this process found since the last count."""
        return len(self.found) - self._counted

    def count(self) -> None:
        """Name what all ranks found, all together; ValueError if it is more than allowed."""
        names = self.named | self.keeper.ranks.union(self.found)
        for index in names.keys() - self.named.keys():
            log.warning("unreadable image, another is taken: %s", names[index])
        self.named, self._counted = names, len(self.found)
        if len(names) > self.most:
            raise ValueError(
                f"{len(names)} unreadable images, at most {self.most} allowed (--bad-images), such "
                f"as {next(iter(names.values()))}; mend or remove them"
            )
