"""What must hold for many inputs. Products of a case are small: numpy's library is to use one thread, as in
`spakc verify`."""

import os

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # before numpy is imported
