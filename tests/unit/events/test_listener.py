from __future__ import annotations

import asyncio
import io

from appliance.events.listener import LogLine, ProcessState, notifications


def a_notification(kind: str, payload: str) -> bytes:
    return (
        f"ver:3.0 server:supervisor serial:1 pool:orchestrator poolserial:1 "
        f"eventname:{kind} len:{len(payload.encode())}\n{payload}"
    ).encode()


def a_log(program: str, data: str) -> bytes:
    head = f"processname:{program} groupname:{program} pid:9 channel:stdout\n"
    return a_notification("PROCESS_LOG_STDOUT", head + data)


def heard(*sent: bytes) -> tuple[list[ProcessState | LogLine], bytes]:
    async def listen() -> tuple[list[ProcessState | LogLine], bytes]:
        source = asyncio.StreamReader()
        source.feed_data(b"".join(sent))
        source.feed_eof()
        sink = io.BytesIO()
        return [each async for each in notifications(source, sink)], sink.getvalue()

    return asyncio.run(listen())


def test_a_state_is_told_by_its_program() -> None:
    states, _ = heard(
        a_notification(
            "PROCESS_STATE_BACKOFF", "processname:nginx groupname:nginx from_state:STARTING tries:2"
        )
    )
    assert states == [ProcessState("nginx", "BACKOFF")]


def test_each_notification_is_acknowledged_once() -> None:
    _, answers = heard(a_log("dhcpd", "one\n"), a_log("dhcpd", "two\n"))
    assert answers == b"READY\nRESULT 2\nOKREADY\nRESULT 2\nOKREADY\n"


def test_a_line_that_came_in_pieces_is_whole_and_lines_of_programs_do_not_mix() -> None:
    lines, _ = heard(
        a_log("dhcpd", "DHCPACK on 192."),
        a_log("nginx", "GET\nhalf"),
        a_log("dhcpd", "168.10.10\nnext\n"),
    )
    assert lines == [
        LogLine("nginx", "GET"),
        LogLine("dhcpd", "DHCPACK on 192.168.10.10"),
        LogLine("dhcpd", "next"),
    ]


def test_a_program_that_never_ends_its_line_does_not_fill_the_memory() -> None:
    lines, _ = heard(*[a_log("noisy", "x" * 100_000)] * 3, a_log("noisy", "\n"))
    assert [len(line.text) for line in lines if isinstance(line, LogLine)] == [4096]
