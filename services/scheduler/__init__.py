"""Which engine serves which request, and, while it holds the lease, which node holds which model.

Hears SCHEDULE, LOOK_AROUND, WEIGH, WANT, ENGINE_BEAT, NODE_BEAT, RANK_BEAT, ENGINE_GONE, NODE_GONE
and the state of plans, stores, jobs, engines, leases and the configuration; says SERVICE_BEAT and
WANT. Leading, it hears SUBMIT and STEER_JOB, writes plans and jobs, and says JOB_TELEMETRY.
"""
