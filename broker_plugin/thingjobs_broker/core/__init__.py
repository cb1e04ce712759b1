"""The rules of the jobs service: a deterministic state machine without I/O, clock or randomness.

Whoever drives the core (the runner; in tests a scenario or the simulation) has five duties:

1. Load: rebuild a `State` by applying every stored record in order, make a `JobsService` of it, and call
   `fire_timers(now_ms)` once for what fell due meanwhile.
2. For each request call `handle` (a device) or `call` (the control plane); each returns an `Outcome`.
3. Make the outcome's records durable, and only then publish its messages, in order. The state in memory is
   already ahead of the disk: if the disk fails, the process stops and recovers; it never carries on.
4. Ask `next_deadline_ms()`, and at that time call `fire_timers` and go to 3.
5. `now_ms` never goes backwards between calls. One driver, one thread.
"""
