"""What users ask for, each as one function: the only place where the stations of the pipe meet.

Functions take the names and defaults of the command line, return what the report says, and never print.
"""

from embcompress.workflows.backfilling import backfill
from embcompress.workflows.compression import approximate
from embcompress.workflows.evaluation import evaluate
from embcompress.workflows.listing import inspect
from embcompress.workflows.reconstruction import reconstruct
from embcompress.workflows.sweeping import sweep

__all__ = ["approximate", "backfill", "evaluate", "inspect", "reconstruct", "sweep"]
