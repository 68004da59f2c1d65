"""A kernel's modules as a layer of their own, from the archive that lies beside it."""

from __future__ import annotations

import json
from itertools import count
from pathlib import Path

import pytest

from tests.builder.workbench import ScriptFailed, Workbench

pytestmark = pytest.mark.lab

VERSION = "6.1.192-labtest"
ROOTS = (f"/tmp/roots-{number}" for number in count())
LAYER = """
import sys
from pathlib import Path
from rootfs_builder.modules import make_layer
from rootfs_builder.ramdisk import RamdiskError
try:
    print(make_layer(Path(sys.argv[1]), Path(sys.argv[2])).id)
except RamdiskError as error:
    sys.exit(f"RamdiskError: {error}")
"""
VARIANT = """
import sys
from pathlib import Path
from rootfs_builder.manifest import tree_id
from rootfs_builder.modules import make_layer, make_variant
from rootfs_builder.ramdisk import RamdiskOptions
root = Path(sys.argv[2], "small", "0123456789abcdef")
before = tree_id(root / "tree")
layer = make_layer(Path(sys.argv[1]), root.parent.parent)
options = RamdiskOptions(headroom_kib=4096)
print(make_variant(root, layer, options, lambda *_: None).uncompressed_kib)
assert tree_id(root / "tree") == before
"""


@pytest.fixture(scope="module")
def archive(workbench: Workbench, test_kernel_dir: Path) -> str:
    file = max(test_kernel_dir.glob("modules-*-labtest.tar.zst"))
    workbench.put(file, "/tmp")
    return f"/tmp/{file.name}"


def layer_of(workbench: Workbench, archive: str) -> str:
    """Make a layer in a folder of its own; return where it lies."""
    roots = next(ROOTS)
    workbench.sh(f"mkdir {roots}")
    return f"{roots}/.modules/{workbench.python(LAYER, archive, roots).strip()}"


def names_in(workbench: Workbench, layer: str) -> list[str]:
    return workbench.sh(f"gzip -dc {layer}/modules.cpio.gz | cpio --quiet -it").splitlines()


def test_a_layer_has_modules_that_modprobe_finds_and_no_folder_lib(
    workbench: Workbench, archive: str
) -> None:
    layer = layer_of(workbench, archive)
    names = names_in(workbench, layer)
    # A folder `lib` would replace the link that it is in most roots.
    assert names[0] == "lib/modules"
    assert f"lib/modules/{VERSION}/kernel/drivers/net/dummy.ko" in names
    assert "kernel/drivers/net/dummy.ko:" in workbench.sh(
        f"cat {layer}/tree/lib/modules/{VERSION}/modules.dep"
    )
    told = json.loads(workbench.sh(f"cat {layer}/manifest.json"))
    assert (told["version"], told["source"]) == (VERSION, archive.removeprefix("/tmp/"))
    assert layer.endswith(told["sha256"][:16])
    assert str(told["bytes"]) == workbench.sh(f"stat -c %s {layer}/modules.cpio.gz").strip()


def test_a_layer_is_the_same_on_any_day_and_however_its_archive_is_packed(
    workbench: Workbench, archive: str
) -> None:
    plain = "/tmp/other.modules.tar"
    workbench.sh(f"zstd -dcq {archive} > {plain}; xz -k {plain}; gzip -k {plain}")
    layers = [layer_of(workbench, each) for each in (archive, plain, f"{plain}.xz", f"{plain}.gz")]
    sums = workbench.sh(f"sha256sum {' '.join(f'{each}/modules.cpio.gz' for each in layers)}")
    assert len({line.split()[0] for line in sums.splitlines()}) == 1
    assert len({Path(layer).name for layer in layers}) == 4


def test_a_layer_that_is_there_is_not_made_again(workbench: Workbench, archive: str) -> None:
    layer = layer_of(workbench, archive)
    before = workbench.sh(f"find {layer} -printf '%i %p\\n'")
    workbench.python(LAYER, archive, str(Path(layer).parents[1]))
    assert workbench.sh(f"find {layer} -printf '%i %p\\n'") == before
    assert workbench.sh(f"ls -A {Path(layer).parent}").split() == [Path(layer).name]


@pytest.mark.parametrize("lib", ["usr", "plain"])
def test_a_variant_has_the_modules_where_its_lib_leads_and_leaves_the_tree_alone(
    workbench: Workbench, archive: str, lib: str
) -> None:
    roots = next(ROOTS)
    link = "mkdir -p usr/lib; ln -s usr/lib lib" if lib == "usr" else "mkdir lib"
    workbench.sh(f"mkdir -p {roots}/small/0123456789abcdef/tree; cd $_; {link}")
    kib = int(workbench.python(VARIANT, archive, roots))
    variants = f"{roots}/small/0123456789abcdef.modules"
    (name,) = workbench.sh(f"ls -A {variants}").split()
    assert name.endswith(".ext2.gz")
    workbench.sh(f"pigz -dc {variants}/{name} > /tmp/variant; e2fsck -fn /tmp/variant")
    assert int(workbench.sh("stat -c %s /tmp/variant")) == kib * 1024
    place = f"{'usr/lib' if lib == 'usr' else 'lib'}/modules/{VERSION}"
    assert "dummy.ko" in workbench.sh(f"debugfs -R 'ls /{place}/kernel/drivers/net' /tmp/variant")
    assert len(workbench.sh(f"ls -A {roots}/.modules").split()) == 1


@pytest.mark.parametrize(
    ("making", "said"),
    [
        ("mkdir -p lib/modules/{6.1,6.2}/x; touch lib/modules/6.{1,2}/x/a.ko", "of 6.1 and 6.2"),
        ("mkdir -p etc; echo x > etc/passwd", "of none; it must hold those of one kernel"),
        ("mkdir -p lib/modules/6.1; ln -s /etc/passwd lib/modules/6.1/build", "of none"),
    ],
    ids=["two kernels", "no modules", "a link alone"],
)
def test_an_archive_that_holds_no_kernels_modules_is_refused_in_one_line(
    workbench: Workbench, making: str, said: str
) -> None:
    name = f"/tmp/modules-{len(said)}.tar"
    workbench.sh(f"rm -rf /tmp/odd; mkdir /tmp/odd; cd /tmp/odd; {making}; tar -cf {name} *")
    with pytest.raises(ScriptFailed, match=rf"\nRamdiskError: {name}: .*{said}.*\n$"):
        layer_of(workbench, name)


def test_half_an_archive_is_refused_and_leaves_nothing(workbench: Workbench, archive: str) -> None:
    half = "/tmp/modules-half.tar.zst"
    workbench.sh(f"head -c 20000 {archive} > {half}")
    roots = next(ROOTS)
    workbench.sh(f"mkdir {roots}")
    with pytest.raises(ScriptFailed, match=rf"\nRamdiskError: {half}: .*\n$"):
        workbench.python(LAYER, half, roots)
    assert workbench.sh(f"ls -A {roots}/.modules") == ""
