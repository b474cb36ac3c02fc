"""The PCI bus by sysfs: which cards should answer, whatever the driver says."""

from __future__ import annotations

from pathlib import Path

SYSFS = Path("/sys")
_NVIDIA = "0x10de"
_DISPLAY, _3D = "0x0300", "0x0302"  # classes of its cards; NVSwitches and audio have others


def cards_on_bus(sysfs: Path = SYSFS) -> int | None:
    """How many of NVIDIA's cards the kernel's driver has or should have; None where the bus shows none at all.

    One that another driver has, as vfio-pci has those of virtual machines, is not the NVIDIA driver's to show; one
    that no driver has could not be started.
    """
    found = [card for card in (sysfs / "bus/pci/devices").glob("*") if _is_card(card)]
    ours = [card for card in found if _driver(card) in (None, "nvidia")]
    return len(ours) if found else None


def _is_card(device: Path) -> bool:
    try:
        vendor, kind = ((device / name).read_text().strip() for name in ("vendor", "class"))
    except OSError:  # unplugged meanwhile
        return False
    is_virtual = (device / "physfn").is_symlink()  # a part of a card that is listed, too, for virtual machines
    return vendor == _NVIDIA and kind.startswith((_DISPLAY, _3D)) and not is_virtual


def _driver(device: Path) -> str | None:
    try:
        return (device / "driver").readlink().name
    except OSError:
        return None
