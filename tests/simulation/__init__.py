"""A world from one seed: the true service on a simulated machine, disk, network and broker, with devices.

`python -m tests.simulation --seed N` replays a world exactly. Real are the sidecar with its outbox, the host,
runner, group commit, snapshotter, retention, clock, core and store, and the agent's machine, inbox and
checkpoint format. Not real, and so not tested here: threads (what they do happens whole, at a time of the
scheduler's choice), sockets, paho and aiomqtt, the embedded broker, the agent's processes and files.
"""
