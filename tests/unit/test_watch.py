import asyncio
import errno
import os
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from pathlib import Path

import pytest

from appliance import watch
from appliance.watch import WatchedFolder

Changes = AsyncGenerator[None, None]


def watched(folder: Path, story: Callable[[WatchedFolder, Changes], Awaitable[None]]) -> None:
    """Run a story whose first change, the one of the start, has been taken."""

    async def run() -> None:
        watch = WatchedFolder(folder)
        async with aclosing(watch.changes()) as changes:
            await anext(changes)
            await story(watch, changes)

    asyncio.run(asyncio.wait_for(run(), 20))


async def due(changes: Changes) -> None:
    await asyncio.wait_for(anext(changes), 5)


async def quiet(watch: WatchedFolder, changes: Changes) -> None:
    """The next change is the one that is asked for here, no earlier one."""
    loop = asyncio.get_running_loop()
    start = loop.time()
    watch.rescan_in(0.2)
    await due(changes)
    assert loop.time() - start >= 0.19


def closed(folder: Path) -> None:
    (folder / "a").write_bytes(b"x")


def moved_in(folder: Path) -> None:
    (folder.parent / "elsewhere").write_bytes(b"x")
    os.rename(folder.parent / "elsewhere", folder / "a")


def mode_changed(folder: Path) -> None:
    (folder / "old").chmod(0o600)


def deleted(folder: Path) -> None:
    (folder / "old").unlink()


@pytest.mark.parametrize("change", [closed, moved_in, mode_changed, deleted])
def test_a_change_is_told_at_once(tmp_path: Path, change: Callable[[Path], None]) -> None:
    folder = tmp_path / "kernels"
    folder.mkdir()
    (folder / "old").write_bytes(b"x")

    async def story(_: WatchedFolder, changes: Changes) -> None:
        change(folder)
        await due(changes)

    watched(folder, story)


def test_a_burst_is_few_changes(tmp_path: Path) -> None:
    def burst() -> None:
        for n in range(500):
            (tmp_path / f"bzImage-{n}").write_bytes(b"x")

    async def story(watch: WatchedFolder, changes: Changes) -> None:
        loop = asyncio.get_running_loop()
        await asyncio.to_thread(burst)
        end = loop.time() + 0.3
        told = 0
        while loop.time() < end:
            watch.rescan_in(end - loop.time())
            await due(changes)
            told += 1
        assert told < 20

    watched(tmp_path, story)


def test_writing_wakes_nobody_before_it_is_done(tmp_path: Path) -> None:
    async def story(watch: WatchedFolder, changes: Changes) -> None:
        with (tmp_path / "bzImage").open("wb", buffering=0) as file:
            await due(changes)  # it was made
            for _ in range(100):
                file.write(bytes(1000))
            await quiet(watch, changes)
        await due(changes)

    watched(tmp_path, story)


def test_new_folders_are_watched_however_deep(tmp_path: Path) -> None:
    async def story(watch: WatchedFolder, changes: Changes) -> None:
        (tmp_path / "a/b/c").mkdir(parents=True)
        await due(changes)
        await quiet(watch, changes)
        (tmp_path / "a/b/c/bzImage").write_bytes(b"x")
        await due(changes)

    watched(tmp_path, story)


def test_a_folder_that_is_moved_in_is_watched(tmp_path: Path) -> None:
    folder = tmp_path / "kernels"
    folder.mkdir()
    (tmp_path / "new/deep").mkdir(parents=True)

    async def story(watch: WatchedFolder, changes: Changes) -> None:
        os.rename(tmp_path / "new", folder / "new")
        await due(changes)
        await quiet(watch, changes)
        (folder / "new/deep/bzImage").write_bytes(b"x")
        await due(changes)

    watched(folder, story)


def test_a_drop_folder_that_comes_later_is_watched(tmp_path: Path) -> None:
    folder = tmp_path / "kernels"

    async def story(watch: WatchedFolder, changes: Changes) -> None:
        folder.mkdir()
        await due(changes)
        await quiet(watch, changes)
        (folder / "bzImage").write_bytes(b"x")
        await due(changes)

    watched(folder, story)


def test_a_drop_folder_that_comes_back_is_watched(tmp_path: Path) -> None:
    folder = tmp_path / "kernels"
    folder.mkdir()

    async def story(watch: WatchedFolder, changes: Changes) -> None:
        shutil.rmtree(folder)
        await due(changes)
        await quiet(watch, changes)
        folder.mkdir()
        await due(changes)
        await quiet(watch, changes)
        (folder / "bzImage").write_bytes(b"x")
        await due(changes)

    watched(folder, story)


def test_what_happens_beside_the_drop_folder_is_not_told(tmp_path: Path) -> None:
    folder = tmp_path / "kernels"
    folder.mkdir()

    async def story(watch: WatchedFolder, changes: Changes) -> None:
        (tmp_path / "published").mkdir()
        await quiet(watch, changes)

    watched(folder, story)


def test_of_two_rescans_the_earlier_counts(tmp_path: Path) -> None:
    async def story(watch: WatchedFolder, changes: Changes) -> None:
        watch.rescan_in(30)
        watch.rescan_in(0.05)
        watch.rescan_in(30)
        await due(changes)

    watched(tmp_path, story)


def test_without_a_change_it_is_due_every_now_and_then(tmp_path: Path) -> None:
    async def run() -> None:
        async with aclosing(WatchedFolder(tmp_path, every=0.02).changes()) as changes:
            for _ in range(5):
                await due(changes)

    asyncio.run(run())


def test_what_somebody_takes_away_of_ours_is_told_and_what_we_make_is_not(tmp_path: Path) -> None:
    folder, ours = tmp_path / "kernels", tmp_path / "published"
    folder.mkdir()
    ours.mkdir()

    async def run() -> None:
        watch = WatchedFolder(folder, ours=(ours,))
        async with aclosing(watch.changes()) as changes:
            await anext(changes)
            (ours / ".boot.ipxe.new").write_bytes(b"x")
            (ours / ".boot.ipxe.new").rename(ours / "boot.ipxe")
            await quiet(watch, changes)
            (ours / "boot.ipxe").unlink()
            await due(changes)
            shutil.rmtree(ours)
            await due(changes)

    asyncio.run(asyncio.wait_for(run(), 20))


@pytest.mark.parametrize("ignored", [".git", "a/" * 17 + "deep"])
def test_folders_that_no_scan_enters_are_not_watched(tmp_path: Path, ignored: str) -> None:
    (tmp_path / ignored).mkdir(parents=True)

    async def story(watch: WatchedFolder, changes: Changes) -> None:
        (tmp_path / ignored / "bzImage").write_bytes(b"x")
        await quiet(watch, changes)

    watched(tmp_path, story)


def test_a_hidden_file_comes_and_goes_unnoticed(tmp_path: Path) -> None:
    async def story(watch: WatchedFolder, changes: Changes) -> None:
        (tmp_path / ".bzImage.x7Gd2").write_bytes(b"x")  # as rsync names it
        await quiet(watch, changes)
        (tmp_path / ".bzImage.x7Gd2").rename(tmp_path / "bzImage")
        await due(changes)

    watched(tmp_path, story)


def test_without_inotify_the_folder_is_looked_at_by_the_clock(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def none_left() -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(watch, "Inotify", none_left)

    async def run() -> None:
        async with aclosing(WatchedFolder(tmp_path, every=0.01).changes()) as changes:
            for _ in range(3):
                await due(changes)

    asyncio.run(run())
    (said,) = caplog.messages
    assert said.startswith("no inotify (Too many open files), so ")
