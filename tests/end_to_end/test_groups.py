"""Dynamic thing groups over the wire: the embedded broker knows who is connected (control plane 1.9)."""

import asyncio

import pytest

from tests.end_to_end.jobs_client import JobsClient
from tests.end_to_end.wire_fixtures import WireService, new_name

pytestmark = pytest.mark.broker


@pytest.mark.asyncio
async def test_a_group_of_what_is_connected_follows_connections(service: WireService) -> None:
    """Beside another broker nobody is known to be connected, and the group stays empty."""
    thing, group = new_name("press"), new_name("online")
    async with JobsClient.connect(service.port) as operator:

        async def members_become(expected: list[str]) -> None:
            async with asyncio.timeout(10):
                while True:
                    answer = await operator.call("ListThingsInThingGroup", thingGroupName=group)
                    if answer["things"] == expected:
                        return

        await operator.call("CreateThing", thingName=thing)
        modes = {"thingIndexingMode": "REGISTRY", "thingConnectivityIndexingMode": "STATUS"}
        await operator.call("UpdateIndexingConfiguration", thingIndexingConfiguration=modes)
        query = f"thingName:{thing} AND connectivity.connected:true"
        await operator.call("CreateDynamicThingGroup", thingGroupName=group, queryString=query)
        await members_become([])
        async with JobsClient.connect(service.port, client_id=thing):
            await members_become([thing] if service.broker == "embedded" else [])
        await members_become([])
        await operator.call("DeleteDynamicThingGroup", thingGroupName=group)
        endpoint = await operator.call("DescribeEndpoint")
        assert endpoint == {"endpointAddress": "127.0.0.1"}
