"""Package managers, one file each behind the interface of base.py.

A manager says which commands to run and what their output means; install.py runs them.
"""

from rootfs_builder.managers.base import Manager
from rootfs_builder.managers.debootstrap import Debootstrap
from rootfs_builder.managers.dnf import Dnf
from rootfs_builder.managers.tar import Tar
from rootfs_builder.managers.zypper import Zypper
from rootfs_builder.recipe import Recipe


def manager_for(recipe: Recipe) -> Manager:
    """Return the manager that a recipe's `from:` names."""
    match recipe.source:
        case "dnf":
            return Dnf(recipe)
        case "zypper":
            return Zypper(recipe)
        case "debootstrap":
            return Debootstrap(recipe)
        case "tar":
            return Tar(recipe)
