"""The appliance in the lab's network, shared by the tests of a file."""

from tests.boot.conftest import drop, empty_lab, shared_lab

__all__ = ["drop", "empty_lab", "shared_lab"]
