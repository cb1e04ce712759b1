"""The rules of the agent, by what it is doing; `agent` holds the door and the table. No I/O, no clock.

`state` is what all rules share; above it `asking` and `telling` <- `reporting` <- `rebooting` and `holding`
<- `running` <- `taking_up`: each may use what stands to its left. A rule is a function of the machine, its
input and the time; it changes the machine and appends commands.
"""
