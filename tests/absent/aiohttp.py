"""Only OpenAI's own tests need aiohttp; where a mesh runs, it is not installed.

First on the path of a test's mesh, this keeps the NATS client from importing it, which would cost
each process a quarter of a second.
"""

raise ImportError("as where only requirements.lock is installed")
