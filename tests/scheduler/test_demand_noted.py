"""Does the scheduler say which models the jobs that wait would take?"""

from __future__ import annotations

from penstock_contracts.asks import Alternative
from penstock_contracts.journal import DemandNoted
from tests.scheduler.driver import Driver, a_job, a_node


def test_what_waits_for_certain_models_is_noted_by_model() -> None:
    driver = Driver(a_node("n1", 2, "H100"), a_node("n2", 2, "A100"), a_node("n3", 1, "L40S"))
    for number, model in enumerate(("H100", "A100"), 1):
        driver.submit(a_job(number, gpus=2, gpu_models=(model,)))
    driver.submit(a_job(3, gpus=2, gpu_models=("H100",)))
    driver.submit(a_job(4, gpus=1, gpu_models=("H100",), alternatives=(a_choice("A100"),)))
    assert noted(driver) == [DemandNoted({"fit/A100": 1_000, "fit/H100": 3_000})]
    driver.submit(a_job(5, gpus=2))
    assert noted(driver) == [DemandNoted({"fit": 2_000, "fit/A100": 1_000, "fit/H100": 3_000})]
    driver.submit(a_job(6, gpus=2))
    assert noted(driver) == []


def a_choice(model: str) -> Alternative:
    return Alternative(gpus=1, gpu_models=(model,))


def noted(driver: Driver) -> list[DemandNoted]:
    return [fact for fact in driver.tick(1) if isinstance(fact, DemandNoted)]
