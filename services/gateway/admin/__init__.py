"""The admin API: models, nodes and jobs over HTTP, for those who may. Decides nothing: it asks the
scheduler that leads, and shows what any scheduler sees.
"""
