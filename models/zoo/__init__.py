"""The model zoo: one file per family, and LightGBM fitting apart from LightGBM arrays."""
