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

    Without one the run goes on from `step`: steps left out did not touch the weights. It is saved
    that the run went back, since from then on another order of the images has to be taken.
    """
    in_row = guard.in_row
    if keeper.extra.get("went_back", 0):
        raise ValueError(
            f"the run diverged: {in_row} losses in a row were not finite, again after going "
            "back to a checkpoint; lower the learning rate or use --precision fp32"
        )
    step = keeper.resume() or step
    keeper.extra["went_back"] = 1
    keeper.ranks.wait()  # until all have read what the save may replace
    guard.forget()
    keeper.save(step)
    log.warning("%d losses in a row not finite: back to step %d, other order", in_row, step)
    return step


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
