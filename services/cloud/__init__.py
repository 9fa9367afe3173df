"""The same requests, answered by someone else's API.

Hears GENERATE, EMBED, RERANK, CANCEL, HOLD and REPLAY for each upstream it stands for, and
COUNT_TOKENS, which it refuses; says ENGINE_BEAT, frames and SERVICE_BEAT.
"""
