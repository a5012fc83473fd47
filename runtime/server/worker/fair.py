"""FairQueue: jobs that wait, and whose turn it is.

Each user has a count of the tokens that were worked on for them; who waits with the lowest count is next. A user who
comes (back) begins with the count of who was served last, so that nobody saves up (a virtual token counter: Sheng et
al., Fairness in Serving Large Language Models, 2024).
"""

from collections import deque

from ..jobs import Job

MOST_USERS = 1024  # that are remembered; their names are of the clients' choice
GENERATED = 2.0  # the weight of a token made, in tokens of a prompt


class FairQueue:
    """At most `most` jobs, and `most_user` of one user."""

    def __init__(self, most: int, most_user: int) -> None:
        self._most, self._most_user = most, most_user
        self._waiting: dict[str, deque[Job]] = {}  # by user, none of them empty
        self._served: dict[str, float] = {}
        self._floor = 0.0

    def __len__(self) -> int:
        return sum(map(len, self._waiting.values()))

    @property
    def is_full(self) -> bool:
        return len(self) >= self._most

    def has_too_many(self, user: str) -> bool:
        return len(self._waiting.get(user, ())) >= self._most_user

    def push(self, job: Job) -> None:
        self._waiting.setdefault(job.user, deque()).append(job)
        self._served[job.user] = max(self._served.get(job.user, 0.0), self._floor)

    def pop(self) -> Job:
        """The next job, with its prompt counted."""
        user = min(self._waiting, key=lambda u: self._served[u])
        self._floor = max(self._floor, self._served[user])
        job = self._waiting[user].popleft()
        self._tidy(user)
        self.charge(user, len(job.ids))
        return job

    def charge(self, user: str, n_prompt: float = 0, n_made: float = 0) -> None:
        """n_prompt: negative for tokens of a prompt that were reused."""
        self._served[user] = self._served.get(user, self._floor) + n_prompt + GENERATED * n_made

    def remove(self, id: str) -> Job | None:
        """Who gave up waiting."""
        for user, jobs in self._waiting.items():
            for job in jobs:
                if job.id == id:
                    jobs.remove(job)
                    self._tidy(user)
                    return job
        return None

    def _tidy(self, user: str) -> None:
        """Forget users who wait for nothing and have no more than a newcomer; and of very many those with least."""
        if not self._waiting[user]:
            del self._waiting[user]
        idle = sorted((n, u) for u, n in self._served.items() if u not in self._waiting and u != user)
        for n, u in idle:
            if n <= self._floor or len(self._served) > MOST_USERS:
                del self._served[u]
