"""One judge's money for its calls: reserved before each call, settled after it, in few transactions.

Calls that start together share one reservation. It is settled when the last of them is; that of a process
that died is held while they could be under way, and given up then (`daemon.budget`).
"""

import asyncio
from dataclasses import dataclass

from daemon.budget import LASTS_S, Budget, BudgetExhaustedError, Reservation
from daemon.stages.judge.group_commit import GroupCommit
from policies.judging.judges import NamedJudge


@dataclass
class _Shared:
    """A reservation and what its calls have cost so far."""

    reservation: Reservation
    open: int
    actual: float = 0.0


@dataclass(frozen=True)
class HeldMoney:
    """Money set aside for one call. `usd` is its estimate."""

    usd: float
    shared: _Shared | None


class Purse:
    """Reserves and settles on one event loop, in the transactions of `commits`. Calls that cost nothing are
    not counted. `lasts_s`: what is reserved is settled by then.
    """

    def __init__(
        self,
        budget: Budget,
        commits: GroupCommit,
        judge: NamedJudge,
        limit_usd: float | None,
        *,
        lasts_s: float = LASTS_S,
    ) -> None:
        self._lasts_s = lasts_s
        self._budget = budget
        self._commits = commits
        self._judge = judge
        self._limit_usd = limit_usd
        self._asking: list[tuple[float, asyncio.Future[HeldMoney]]] = []
        self._teller: asyncio.Task[None] | None = None

    async def reserve(self, usd: float) -> HeldMoney:
        """Sets the estimate aside. Raises BudgetExhaustedError when today's limit does not allow it."""
        if usd <= 0:
            return HeldMoney(0.0, None)
        answer: asyncio.Future[HeldMoney] = asyncio.get_running_loop().create_future()
        self._asking.append((usd, answer))
        if self._teller is None or self._teller.done():
            self._teller = asyncio.create_task(self._tell())
        return await answer

    async def settle(self, held: HeldMoney, actual_usd: float) -> None:
        """Says what the call cost; 0 when it was not made."""
        shared = held.shared
        if shared is None:
            return
        shared.actual += actual_usd
        shared.open -= 1
        if shared.open == 0:
            with self._budget.settling(shared.reservation, shared.actual) as settling:
                settling.spent = await self._commits.write(settling.work)

    async def _tell(self) -> None:
        while self._asking:
            group, self._asking = self._asking, []
            await self._reserve(group)

    async def _reserve(self, group: list[tuple[float, asyncio.Future[HeldMoney]]]) -> None:
        total = sum(usd for usd, _ in group)
        try:
            asking = self._budget.asking(
                self._judge, total, self._limit_usd, calls=len(group), lasts_s=self._lasts_s
            )
            reservation = self._budget.reserved(asking, await self._commits.write(asking.work))
        except BudgetExhaustedError as error:
            if len(group) > 1:
                for each in group:
                    await self._reserve([each])
            elif not group[0][1].done():
                group[0][1].set_exception(error)
            return
        except Exception as error:  # noqa: BLE001 - handed to the tasks that wait for it
            for _, answer in group:
                if not answer.done():
                    answer.set_exception(error)
            return
        shared = _Shared(reservation, len(group))
        for usd, answer in group:
            if answer.done():
                await self.settle(HeldMoney(usd, shared), 0.0)
            else:
                answer.set_result(HeldMoney(usd, shared))
