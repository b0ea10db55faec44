"""Zero-shot image classification with CLIP on MindSpore."""

import os

__version__ = "0.1.0"

os.environ.setdefault("GLOG_v", "3")  # MindSpore reads it when it is first imported; it warns a lot otherwise
