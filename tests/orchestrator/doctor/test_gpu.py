"""GPUs that are made up: what is told of sound ones, of missing, wrong, full and sick ones."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from orchestrator.doctor import gpu
from orchestrator.doctor.gpu import Device, Gpus, check_gpus, driver_version, health, unoffered


class Made(Gpus):
    """GPUs without torch. wrong: those whose products differ. error: what the driver raises."""

    def __init__(self, *devices: Device, wrong: tuple[int, ...] = (), error: str = "") -> None:
        self.made, self.wrong, self.error = list(devices), wrong, error

    def devices(self) -> list[Device]:
        return self.made

    def build(self) -> str:
        return "CUDA 13.0"

    def product_differs(self, index: int) -> bool:
        if self.error:
            raise RuntimeError(self.error)
        return index in self.wrong


SOUND = Device("H100", 79 * 2**30, 80 * 2**30, "GPU-0")


def test_sound_ones_are_one_line() -> None:
    (result,) = check_gpus(Made(SOUND, SOUND), 2)
    assert result.status == "ok"
    assert result.found.startswith("2 x H100, driver ")
    assert check_gpus(Made(), 0) == []


@pytest.mark.parametrize(
    ("gpus", "status", "told"),
    [
        (Made(SOUND), "fail", "torch sees 1 of 2"),
        (Made(), "fail", "torch sees 0 of 2"),
        (Made(SOUND, SOUND, wrong=(1,)), "fail", "GPU 1 (H100) multiplies wrongly"),
        (Made(SOUND, SOUND, error="CUDA error: no kernel\nimage"), "fail", "CUDA error: no kernel"),
        (Made(SOUND, Device("H100", 2**30, 80 * 2**30, "")), "warn", "GPU 1 (H100): 1.1 GB of 85.9 GB free"),
    ],
)
def test_each_trouble_names_the_gpu_and_the_remedy(gpus: Made, status: str, told: str) -> None:
    result = check_gpus(gpus, 2)[0]
    assert (result.status, told in result.found) == (status, True)
    assert result.remedy


def nvml(reasons: int, errors: int | None) -> SimpleNamespace:
    """A stand-in for nvidia-ml-py. errors: None where the GPU does not count them."""

    class NVMLError(Exception):
        pass

    def count(*_: object) -> int:
        if errors is None:
            raise NVMLError("not supported")
        return errors

    return SimpleNamespace(
        NVMLError=NVMLError, NVML_MEMORY_ERROR_TYPE_UNCORRECTED=1, NVML_VOLATILE_ECC=0,
        nvmlInit=lambda: None, nvmlDeviceGetHandleByUUID=lambda uuid: uuid,
        nvmlDeviceGetCurrentClocksThrottleReasons=lambda device: reasons,
        nvmlDeviceGetTotalEccErrors=count,
    )  # fmt: skip


@pytest.mark.parametrize(
    ("reasons", "errors", "told"),
    [(0, 0, ""), (0x1, None, ""), (0x40, None, "slowed"), (0, 3, "3 uncorrected"), (0x8, 1, ", 1 uncorr")],
)
def test_health(monkeypatch: pytest.MonkeyPatch, reasons: int, errors: int | None, told: str) -> None:
    monkeypatch.setattr(gpu, "_nvml", lambda: nvml(reasons, errors))
    assert (told in health("GPU-0")) if told else health("GPU-0") == ""
    (result,) = check_gpus(Made(SOUND), 1)
    assert result.status == ("warn" if told else "ok")
    assert "nvidia-ml-py" not in result.found


def test_without_nvml_health_is_not_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "_nvml", lambda: None)
    assert health("GPU-0") == ""
    assert "no nvidia-ml-py" in check_gpus(Made(SOUND), 1)[0].found


def test_gpus_that_ray_was_not_told_of(tmp_path: Path) -> None:
    assert unoffered(0, tmp_path) == []
    (tmp_path / "gpus/0000:01:00.0").mkdir(parents=True)
    (tmp_path / "gpus/0000:02:00.0").mkdir()
    (result,) = unoffered(1, tmp_path)
    assert (result.status, result.found) == ("warn", "Ray offers 1 of the 2 GPUs here")
    assert unoffered(2, tmp_path) == []


def test_version_of_the_driver(tmp_path: Path) -> None:
    assert driver_version(tmp_path) == "none"
    text = "NVRM version: NVIDIA UNIX Open Kernel Module for x86_64  580.65.06  Release Build\nGCC version\n"
    (tmp_path / "version").write_text(text)
    assert driver_version(tmp_path) == "580.65.06"


@pytest.mark.gpu
def test_real_gpus_multiply_rightly() -> None:
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("no CUDA GPU")
    assert all(result.status != "fail" for result in check_gpus(Gpus(), torch.cuda.device_count()))
