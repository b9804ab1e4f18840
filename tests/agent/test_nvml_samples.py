"""What do NVIDIA devices read, and what is left unknown?"""

from __future__ import annotations

import pytest

from agent.nvml_host import NvmlHost
from nvml.library import MIB
from penstock_node_agent.drivers.nvml_vitals import RECENT_S
from penstock_node_agent.drivers.port import MemoryUse, ProcessReading, Vitals

NOT_SUPPORTED, FUNCTION_NOT_FOUND, UNKNOWN, GPU_IS_LOST = 3, 13, 999, 15


def test_an_idle_gpu_reads_as_a_real_one_did(nvml_host: NvmlHost) -> None:
    reading = nvml_host.driver().sample()[0]
    assert (reading.uuid, reading.model) == (nvml_host.uuid(0), "H100")
    assert (reading.product, reading.minor) == ("NVIDIA H100 80GB HBM3", 0)
    assert (reading.utilisation_percent, reading.memory_busy_percent) == (0, 0)
    memory = (reading.memory_used_mib, reading.memory_reserved_mib, reading.memory_free_mib)
    assert memory == (0, 480, 81_079)
    assert (reading.temperature_c, reading.memory_temperature_c) == (31, 41)
    assert (reading.power_mw, reading.energy_mj) == (71_500, 123_456)
    assert (reading.sm_clock_mhz, reading.memory_clock_mhz) == (345, 2_619)
    assert (reading.pcie_replays, reading.processes) == (0, ())


@pytest.mark.lesson(24)
def test_zero_is_a_reading_and_unknown_is_none(nvml_host: NvmlHost) -> None:
    for call in (
        "nvmlDeviceGetUtilizationRates",
        "nvmlDeviceGetPowerUsage",
        "nvmlDeviceGetTotalEnergyConsumption",
        "nvmlDeviceGetFieldValues",
        "nvmlDeviceGetComputeRunningProcesses_v3",
        "nvmlDeviceGetClockInfo",
        "nvmlDeviceGetTemperature",
    ):
        nvml_host.gpu(1).fail(call, UNKNOWN)
    well, bare = nvml_host.driver().sample()
    assert (well.utilisation_percent, well.processes) == (0, ())
    assert (bare.utilisation_percent, bare.power_mw, bare.energy_mj) == (None, None, None)
    assert (bare.memory_temperature_c, bare.pcie_replays, bare.processes) == (None, None, None)
    assert (bare.sm_clock_mhz, bare.temperature_c) == (None, None)


def test_a_driver_that_does_not_tell_what_it_reserves_counts_it_as_used(
    nvml_host: NvmlHost,
) -> None:
    nvml_host.gpu(0).fail("nvmlDeviceGetMemoryInfo_v2", FUNCTION_NOT_FOUND)
    reading = nvml_host.driver().sample()[0]
    assert (reading.memory_used_mib, reading.memory_reserved_mib) == (480, None)
    assert reading.memory_free_mib == 81_079


def test_processes_are_told_with_their_memory_and_their_mean_utilisation(
    nvml_host: NvmlHost,
) -> None:
    gpu = nvml_host.gpu(0)
    gpu.run(4711, 1000, sm=40, at_us=10)
    gpu.run(4712, 24)
    driver = nvml_host.driver()
    used = driver.sample()[0].processes
    assert used == (
        ProcessReading(pid=4711, memory_mib=1000, utilisation_percent=40),
        ProcessReading(pid=4712, memory_mib=24),
    )
    again = driver.sample()[0].processes
    assert again is not None
    assert again[0].utilisation_percent is None, "nothing was measured since"
    gpu.process[0].stamp_us, gpu.process[0].sm_percent = 20, 90
    measured = driver.sample()[0].processes
    assert measured is not None
    assert measured[0].utilisation_percent == 90


def test_memory_that_the_driver_does_not_attribute_is_unknown(nvml_host: NvmlHost) -> None:
    nvml_host.gpu(0).run(4711)
    nvml_host.gpu(0).process[0].memory_bytes = 0xFFFFFFFFFFFFFFFF
    processes = nvml_host.driver().sample()[0].processes
    assert processes == (ProcessReading(pid=4711),)


def test_pcie_traffic_is_a_rate_between_two_samples(nvml_host: NvmlHost) -> None:
    gpu, driver = nvml_host.gpu(0), nvml_host.driver()
    gpu.pcie_sent, gpu.pcie_received = 1_000, 2_000
    first = driver.sample()[0]
    assert (first.pcie_sent_kb_s, first.pcie_received_kb_s) == (None, None)
    gpu.pcie_sent, gpu.pcie_received = 1_000 + 50_000_000, 2_000
    nvml_host.later(10)
    second = driver.sample()[0]
    assert (second.pcie_sent_kb_s, second.pcie_received_kb_s) == (5_000, 0)
    gpu.pcie_sent = 0
    nvml_host.later(10)
    third = driver.sample()[0]
    assert (third.pcie_sent_kb_s, third.pcie_received_kb_s) == (None, None), "it began anew"


def test_pcie_traffic_without_counters_is_measured_only_where_there_is_work(
    nvml_host: NvmlHost,
) -> None:
    for gpu in (nvml_host.gpu(0), nvml_host.gpu(1)):
        gpu.pcie_counts = 0
    nvml_host.gpu(1).run(4711)
    idle, busy = nvml_host.driver().sample()
    assert (idle.pcie_sent_kb_s, idle.pcie_received_kb_s) == (None, None)
    assert (busy.pcie_sent_kb_s, busy.pcie_received_kb_s) == (11, 22)


def test_instances_have_their_own_memory_and_power_is_the_whole_gpus(nvml_host: NvmlHost) -> None:
    nvml_host.gpu(0).cut("1g.10gb")
    part = nvml_host.gpu(0).part[0]
    part.used = 100 * MIB
    part.run(4711, 90)
    whole, instance, other = nvml_host.driver().sample()
    assert (whole.offered, instance.offered, other.offered) == (False, True, True)
    assert (whole.power_mw, whole.energy_mj) == (71_500, 123_456)
    assert (instance.power_mw, instance.energy_mj) == (None, None)
    assert (instance.parent, instance.profile, instance.gpu_instance) == (
        whole.uuid,
        "1g.10gb",
        7,
    )
    assert (instance.memory_used_mib, instance.memory_free_mib) == (100, 10_130)
    assert instance.processes == (ProcessReading(pid=4711, memory_mib=90),)
    assert whole.utilisation_percent is None, "a GPU in MIG mode does not say"


def test_vitals_are_told_as_the_device_says_them(nvml_host: NvmlHost) -> None:
    gpu = nvml_host.gpu(1)
    gpu.ecc_uncorrectable, gpu.throttled = 3, 0x08 | 0x40 | 0x04
    gpu.rows[1], gpu.rows[2], gpu.rows[3] = 2, 1, 1
    well, sick = nvml_host.driver().vitals()
    assert well == Vitals(
        uuid=nvml_host.uuid(0),
        index=0,
        ecc_uncorrectable=0,
        rows_correctable=0,
        rows_uncorrectable=0,
        rows_pending=False,
        rows_failed=False,
        throttled=(),
    )
    assert (sick.ecc_uncorrectable, sick.rows_uncorrectable) == (3, 2)
    assert (sick.rows_pending, sick.rows_failed) == (True, True)
    assert sick.throttled == ("temperature", "power")
    gpu.throttled = 0x08
    assert nvml_host.driver().vitals()[1].throttled == ("hardware",)


def test_a_gpu_without_ecc_is_not_asked_for_errors(nvml_host: NvmlHost) -> None:
    nvml_host.gpu(0).ecc = 0
    assert nvml_host.driver().vitals()[0].ecc_uncorrectable is None


@pytest.mark.lesson(6)
def test_vitals_say_which_question_failed_that_was_answered_before(nvml_host: NvmlHost) -> None:
    driver = nvml_host.driver()
    driver.vitals()
    nvml_host.gpu(1).fail("nvmlDeviceGetTotalEccErrors", UNKNOWN)
    well, sick = driver.vitals()
    assert well.error == ""
    assert (sick.error, sick.lost) == ("nvmlDeviceGetTotalEccErrors: Unknown Error", False)
    assert (sick.ecc_uncorrectable, sick.rows_failed) == (None, False)
    nvml_host.gpu(0).lost = 1
    gone, _ = driver.vitals()
    assert (gone.lost, gone.error, gone.throttled) == (True, "GPU is lost", None)


def test_a_sample_has_the_vitals_that_were_told_just_before(nvml_host: NvmlHost) -> None:
    driver = nvml_host.driver()
    driver.vitals()
    nvml_host.gpu(0).ecc_uncorrectable = 5
    recent = driver.sample()[0].vitals
    nvml_host.later(RECENT_S + 1)
    later = driver.sample()[0].vitals
    assert recent is not None and later is not None
    assert (recent.ecc_uncorrectable, later.ecc_uncorrectable) == (0, 5)


def test_every_instance_has_the_vitals_of_its_gpu(nvml_host: NvmlHost) -> None:
    nvml_host.gpu(0).cut("3g.40gb", "3g.40gb")
    nvml_host.gpu(0).ecc_uncorrectable = 1
    driver = nvml_host.driver()
    uuids = [device.uuid for device in driver.discover()]
    assert [(v.uuid, v.ecc_uncorrectable) for v in driver.vitals()] == list(
        zip(uuids, (1, 1, 0), strict=True)
    )


@pytest.mark.lesson(9)
def test_memory_in_use_is_told_without_what_the_driver_keeps_and_with_who_holds_it(
    nvml_host: NvmlHost,
) -> None:
    nvml_host.gpu(0).used = 1_000 * MIB
    nvml_host.gpu(0).run(4711, 990)
    nvml_host.gpu(1).cut("1g.10gb")
    driver = nvml_host.driver()
    busy, instance = driver.discover()
    assert driver.memory_in_use((busy.uuid, instance.uuid, "GPU-of-another-host")) == {
        busy.uuid: MemoryUse(used_mib=1_000, reserved_mib=480, total_mib=81_559, pids=(4711,)),
        instance.uuid: MemoryUse(used_mib=0, reserved_mib=10, total_mib=10_240, pids=()),
    }
    nvml_host.gpu(0).lost = 1
    assert list(driver.memory_in_use((busy.uuid, instance.uuid))) == [instance.uuid]
