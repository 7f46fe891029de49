"""The emulator keeps the documented rules, so that the other tests mean something."""

from __future__ import annotations

import urllib.error
import urllib.request
from collections.abc import Callable
from typing import Any

import boto3
import pytest
from botocore.config import Config
from botocore.exceptions import ClientError
from emulator.client import Denied, Process
from mturkkit import Start

QUESTION = (
    '<HTMLQuestion xmlns="http://mechanicalturk.amazonaws.com/AWSMechanicalTurkDataSchemas/2011-11-11/HTMLQuestion.xsd">'
    "<HTMLContent><![CDATA[<crowd-form></crowd-form>]]></HTMLContent><FrameHeight>0</FrameHeight></HTMLQuestion>"
)


@pytest.fixture
def emulator(start: Start) -> Process:
    return start()


@pytest.fixture
def client(emulator: Process) -> Any:
    config = Config(retries={"total_max_attempts": 1}, parameter_validation=False)
    return boto3.client("mturk", endpoint_url=emulator.url, region_name="us-east-1", config=config)


def refused(call: Callable[..., Any], **given: Any) -> str:
    with pytest.raises(ClientError) as e:
        call(**given)
    error: dict[str, Any] = dict(e.value.response)
    return str(error.get("TurkErrorCode", error["Error"]["Code"])).removeprefix("AWS.MechanicalTurk.")


def post(client: Any, most: int = 2, **more: Any) -> str:
    kind = client.create_hit_type(AssignmentDurationInSeconds=600, Reward="0.10", Title="t", Description="d", **KIND)
    given = {"MaxAssignments": most, "LifetimeInSeconds": 3600, "Question": QUESTION, **more}
    return str(client.create_hit_with_hit_type(HITTypeId=kind["HITTypeId"], **given)["HIT"]["HITId"])


KIND: dict[str, Any] = {"AutoApprovalDelayInSeconds": 86_400}


def work(emulator: Process, hit: str, worker: str) -> str:
    taken: str = emulator.ask("accept", worker=worker, hit=hit)
    emulator.ask("submit", assignment=taken, answer="")
    return taken


def test_calls_have_to_fit_the_model_and_be_signed(client: Any, emulator: Process) -> None:
    assert refused(client.get_hit, HITId="lower case") == "ValidationException"
    assert refused(client.create_hit_type, Title="t", Reward="0.105", Description="d") == "ValidationException"
    assert refused(post, client=client, most=0) == "InvalidParameterValue"
    assert refused(post, client=client, Question="x" * 70_000) == "InvalidParameterValue"
    assert refused(post, client=client, Question=QUESTION.replace("crowd-form", "p")) == "InvalidQuestion"
    headers = {"X-Amz-Target": "MTurkRequesterServiceV20170117.GetAccountBalance"}
    request = urllib.request.Request(emulator.url, b"{}", headers | {"Content-Type": "application/x-amz-json-1.1"})
    with pytest.raises(urllib.error.HTTPError, match="400"):
        urllib.request.urlopen(request)


def test_a_token_is_good_for_24_hours(client: Any, emulator: Process) -> None:
    hit = post(client, UniqueRequestToken="once")
    with pytest.raises(ClientError, match=hit):
        post(client, UniqueRequestToken="once")
    emulator.ask("clock", advance_s=86_401)
    assert post(client, UniqueRequestToken="once") != hit


def test_a_hit_of_fewer_than_ten_stays_so(client: Any) -> None:
    small, large = post(client, 9), post(client, 10)
    code = refused(client.create_additional_assignments_for_hit, HITId=small, NumberOfAdditionalAssignments=1)
    assert code == "InvalidMaximumAssignmentsIncrease"
    client.create_additional_assignments_for_hit(HITId=large, NumberOfAdditionalAssignments=5)
    assert client.get_hit(HITId=large)["HIT"]["MaxAssignments"] == 15


def test_one_assignment_for_each_worker_and_no_more_than_there_are(client: Any, emulator: Process) -> None:
    hit = post(client)
    work(emulator, hit, "A1")
    with pytest.raises(Denied, match="has had"):
        emulator.ask("accept", worker="A1", hit=hit)
    emulator.ask("accept", worker="A2", hit=hit)
    with pytest.raises(Denied, match="not on offer"):
        emulator.ask("accept", worker="A3", hit=hit)
    found = client.get_hit(HITId=hit)["HIT"]
    assert (found["HITStatus"], found["NumberOfAssignmentsPending"]) == ("Unassignable", 1)
    assert found["NumberOfAssignmentsCompleted"] == 0, "handed in is not yet completed"


def test_money_is_held_paid_or_given_back(client: Any, emulator: Process) -> None:
    hit = post(client, 3)
    assert client.get_account_balance()["OnHoldBalance"] == "0.36"
    one, two = work(emulator, hit, "A1"), work(emulator, hit, "A2")
    client.approve_assignment(AssignmentId=one)
    client.reject_assignment(AssignmentId=two, RequesterFeedback="no")
    assert refused(client.approve_assignment, AssignmentId=one) == "InvalidAssignmentState"
    assert refused(client.reject_assignment, AssignmentId=one, RequesterFeedback="x") == "InvalidAssignmentState"
    assert refused(client.delete_hit, HITId=hit) == "InvalidHITState"
    client.update_expiration_for_hit(HITId=hit, ExpireAt=0)
    assert emulator.ask("books")["held"] == 0
    assert emulator.paid() == (100_000, 20_000)
    client.approve_assignment(AssignmentId=two, OverrideRejection=True)
    assert emulator.paid() == (200_000, 40_000)
    client.delete_hit(HITId=hit)
    assert refused(client.get_hit, HITId=hit) == "HITDoesNotExist"


def test_what_nobody_judges_is_paid_after_its_delay(client: Any, emulator: Process) -> None:
    work(emulator, post(client, 1), "A1")
    emulator.ask("clock", advance_s=86_399)
    assert emulator.paid() == (0, 0)
    emulator.ask("clock", advance_s=2)
    assert emulator.paid() == (100_000, 20_000)


def test_a_bonus_is_paid_once_with_its_fee(client: Any, emulator: Process) -> None:
    done = work(emulator, post(client, 1), "A1")
    given = {"WorkerId": "A1", "AssignmentId": done, "BonusAmount": "0.02", "Reason": "r", "UniqueRequestToken": "b"}
    client.send_bonus(**given)
    assert refused(client.send_bonus, **given) == "BonusAlreadyPaid"
    assert emulator.paid("bonus") == (20_000, 10_000)


def test_its_books_survive_a_kill(client: Any, emulator: Process) -> None:
    hit = post(client, UniqueRequestToken="once")
    emulator.kill()
    emulator.start()
    with pytest.raises(ClientError, match=hit):
        post(client, UniqueRequestToken="once")
