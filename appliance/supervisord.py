"""supervisord, less patient: `python -m appliance.supervisord -c FILE`.

It looks for children that ended, and hands on what it noticed, when one of them prints something
or a second has passed, whichever comes first. A daemon that was killed took two such seconds to
be back, as long as a machine waits for its first answer.
"""

from supervisor import poller, supervisord

_LOOK = 0.2  # seconds; five looks a second take a thousandth of a core


class _Poller(poller.Poller):  # type: ignore[misc]
    def poll(self, timeout: float) -> tuple[list[int], list[int]]:
        readable, writable = super().poll(min(timeout, _LOOK))
        return readable, writable


if __name__ == "__main__":
    poller.Poller = _Poller
    supervisord.main()
