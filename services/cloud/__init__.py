"""The same requests, answered by someone else's API.

Hears GENERATE, EMBED, RERANK, CANCEL, HOLD and REPLAY for each upstream it stands for,
COUNT_TOKENS, which it refuses, LOOK_AT_PROVIDERS and CHECK_PROVIDER; says ENGINE_BEAT, frames and
SERVICE_BEAT.
"""
