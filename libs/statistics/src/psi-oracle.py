"""Prints the PSI that stability.test.ts expects, by the rule of stability.ts in plain NumPy."""

import numpy as np

shares, missing, reference_rows = np.array([0.2, 0.3, 0.3, 0.15, 0.05]), 0.1, 5000
counts = np.array([60, 81, 110, 90, 0, 59])
expected = np.append(shares * (1 - missing), missing)
actual = counts / counts.sum()
used = (expected > 0) | (actual > 0)
p = np.where(expected == 0, 0.5 / reference_rows, expected)[used]
q = np.where(actual == 0, 0.5 / counts.sum(), actual)[used]
print(repr(float(np.sum((q - p) * np.log(q / p)))))
