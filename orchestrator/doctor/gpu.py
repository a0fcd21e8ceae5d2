"""The GPUs of one node: as many as promised, computing what a CPU computes, free and well."""

from __future__ import annotations

import importlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engine.errors import first_line
from orchestrator.doctor.result import Result, size

SIDE = 512
"""Of the square matrices that are multiplied."""

FREE = 0.8
"""Share of a GPU's memory that should be free before trials start."""

DRIVER = Path("/proc/driver/nvidia")

SLOWED = 0x08 | 0x20 | 0x40 | 0x80
"""NVML's reasons of slowed clocks that mean trouble: hardware, heat, power brake."""


@dataclass(frozen=True)
class Device:
    """One GPU: its name, its memory in bytes, and its identity as NVML takes it."""

    name: str
    free: int
    total: int
    uuid: str


class Gpus:
    """The GPUs that this process sees, through torch; a test puts its own in this one's place."""

    def __init__(self) -> None:
        import torch

        self.torch = torch

    def devices(self) -> list[Device]:
        """Those that torch can use; none where it cannot."""
        cuda = self.torch.cuda
        if not cuda.is_available():
            return []
        found = []
        for i in range(cuda.device_count()):
            free, total = cuda.mem_get_info(i)
            uuid = f"GPU-{cuda.get_device_properties(i).uuid}"
            found.append(Device(cuda.get_device_name(i), free, total, uuid))
        return found

    def build(self) -> str:
        """What torch was built for."""
        cuda = self.torch.version.cuda
        return f"CUDA {cuda}" if cuda else "no CUDA"

    def product_differs(self, index: int) -> bool:
        """Whether a product of whole numbers differs from the CPU's, which it must equal exactly.

        Values in [-8, 8] and 512 terms: every partial sum is a whole number below 2^24, exact in float32
        and in TF32.
        """
        torch = self.torch
        generator = torch.Generator().manual_seed(0)
        a, b = (torch.randint(-8, 9, (SIDE, SIDE), generator=generator).float() for _ in range(2))
        device = torch.device("cuda", index)
        return not torch.equal((a.to(device) @ b.to(device)).cpu(), a @ b)


def check_gpus(gpus: Gpus, promised: int) -> list[Result]:
    """The GPUs of a node.

    Args:
        gpus: those that torch sees. promised: how many there should be.
    """
    try:
        devices = gpus.devices()
    except RuntimeError as error:
        return [
            Result("gpu", "fail", first_line(error), "nvidia-smi on the node; then a new driver or a reboot")
        ]
    if len(devices) < promised:
        found = (
            f"torch sees {len(devices)} of {promised}, driver {driver_version()}, torch for {gpus.build()}"
        )
        remedy = "nvidia-smi on the node; a torch built for a CUDA that its driver supports"
        return [Result("gpu", "fail", found, remedy)]
    results = [_check(gpus, i, device) for i, device in enumerate(devices)]
    trouble = [result for result in results if result.status != "ok"]
    if trouble or not devices:
        return trouble
    names = ", ".join(sorted({device.name for device in devices}))
    found = f"{len(devices)} x {names}, driver {driver_version()}, {gpus.build()}{_health_note()}"
    return [Result("gpu", "ok", found)]


def _check(gpus: Gpus, index: int, device: Device) -> Result:
    which = f"GPU {index} ({device.name})"
    try:
        if gpus.product_differs(index):
            return Result("gpu", "fail", f"{which} multiplies wrongly", "take the GPU out of service")
    except RuntimeError as error:
        remedy = "nvidia-smi on the node; a torch built for a CUDA that its driver supports"
        return Result("gpu", "fail", f"{which}: {first_line(error)}", remedy)
    sick = health(device.uuid)
    if sick:
        return Result(
            "gpu", "warn", f"{which}: {sick}", "nvidia-smi -q on the node; cool, reset or replace it"
        )
    if device.free < FREE * device.total:
        found = f"{which}: {size(device.free)} of {size(device.total)} free"
        return Result("gpu", "warn", found, "nvidia-smi on the node shows which other process holds the rest")
    return Result("gpu", "ok", which)


def unoffered(offered: int, folder: Path = DRIVER) -> list[Result]:
    """A warning where a node has more GPUs than Ray was told of.

    Args:
        offered: how many Ray has. folder: of the NVIDIA driver.
    """
    there = len(list((folder / "gpus").glob("*")))
    if there <= offered:
        return []
    found = f"Ray offers {offered} of the {there} GPUs here"
    return [Result("gpu", "warn", found, f"`ray start --num-gpus {there}`, unless it is meant so")]


def driver_version(folder: Path = DRIVER) -> str:
    """Version of the NVIDIA driver, ``none`` without one."""
    try:
        words = (folder / "version").read_text().splitlines()[0].split()
    except (OSError, IndexError):
        return "none"
    return next((word for word in words if word[0].isdigit() and "." in word), "unknown")


def health(uuid: str) -> str:
    """Errors of memory and slowed clocks, where nvidia-ml-py is there to tell; empty when well."""
    nvml = _nvml()
    if nvml is None:
        return ""
    told = []
    try:
        nvml.nvmlInit()
        device = nvml.nvmlDeviceGetHandleByUUID(uuid)
        reasons = nvml.nvmlDeviceGetCurrentClocksThrottleReasons(device)
        if reasons & SLOWED:
            told.append(f"clocks slowed (reasons {reasons:#x})")
        kinds = nvml.NVML_MEMORY_ERROR_TYPE_UNCORRECTED, nvml.NVML_VOLATILE_ECC
        errors = nvml.nvmlDeviceGetTotalEccErrors(device, *kinds)
        if errors:
            told.append(f"{errors} uncorrected memory errors since the last reset")
    except nvml.NVMLError:
        pass  # not supported by this GPU, as ECC by those for desktops
    return ", ".join(told)


def _health_note() -> str:
    return "" if _nvml() is not None else " (memory errors and heat not looked at: no nvidia-ml-py)"


def _nvml() -> Any:
    try:
        return importlib.import_module("pynvml")
    except ImportError:
        return None
