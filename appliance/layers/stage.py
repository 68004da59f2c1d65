"""Which path shows which layer: the mounts below Paths.exports, and what is to be unmounted."""

from __future__ import annotations

import errno
from pathlib import Path, PurePosixPath

from appliance.layers import mounts, overlay
from appliance.layers.layer import Layer
from appliance.layers.overlay import Place


class Stage:
    """The folder of exports. A layer is known here by its own path.

    What is withdrawn stays mounted until unmount(): an NFS server still has it.
    """

    def __init__(self, exports: Path) -> None:
        self._exports = exports
        self.shown: dict[PurePosixPath, PurePosixPath] = {}  # an export's path: the layer's
        self.going: dict[PurePosixPath, PurePosixPath] = {}

    def open(self) -> frozenset[PurePosixPath]:
        """Mount the folder; return the paths that something is mounted at. Raises OSError."""
        mounts.exports_root(self._exports)
        there = mounts.mount_points(self._exports)
        return frozenset(PurePosixPath("/", each.relative_to(self._exports)) for each in there)

    def close(self) -> None:
        """Unmount everything that nobody holds, and then the folder. Raises OSError."""
        self.going |= self.shown
        self.shown = {}
        for path in tuple(self.going):
            self.unmount(path)
        if not self.going and any(each.point == self._exports for each in mounts.mounts()):
            mounts.unmount(self._exports)

    def point(self, path: PurePosixPath) -> Path:
        """Return where a path lies in the container."""
        return self._exports / path.relative_to("/")

    def showing(self, layer: PurePosixPath) -> list[PurePosixPath]:
        """Return every path that shows a layer."""
        return [path for path, shown in self.shown.items() if shown == layer]

    def held(self) -> set[PurePosixPath]:
        """Return the layers that are mounted somewhere."""
        return {*self.shown.values(), *self.going.values()}

    def adopt(self, layer: Layer, path: PurePosixPath) -> bool:
        """Take what is mounted at a path for a layer; False where it may be something else."""
        device = self.point(path).stat().st_dev
        others = [self.point(each).stat().st_dev for each in self.showing(layer.path)]
        if device not in others and (others or path != layer.path):
            return False
        self.shown[path] = layer.path
        return True

    def show(self, layer: Layer, path: PurePosixPath, tree: Path) -> None:
        """Mount a layer at a path where nothing is. Raises OSError."""
        point = self.point(path)
        point.mkdir(mode=0o755, parents=True, exist_ok=True)
        try:
            mounted = next(iter(self.showing(layer.path)), None)
            if mounted is None:
                overlay.mount(Place(layer.folder, tree, point), layer.source)
            else:
                mounts.bind(self.point(mounted), point)
        except OSError:
            mounts.remove_point(point, self._exports)
            raise
        self.shown[path] = layer.path

    def withdraw(self, path: PurePosixPath) -> None:
        """Have a path exported no more."""
        self.going[path] = self.shown.pop(path)

    def unmount(self, path: PurePosixPath) -> PurePosixPath | None:
        """Unmount what was withdrawn; return the layer that it showed. Raises OSError.

        None where somebody still holds it: a server that did not drop it yet.
        """
        point = self.point(path)
        try:
            mounts.unmount(point)
        except OSError as error:
            if error.errno == errno.EBUSY:
                return None
            if error.errno not in (errno.EINVAL, errno.ENOENT):  # it is not mounted any more
                raise
        mounts.remove_point(point, self._exports)
        return self.going.pop(path)
