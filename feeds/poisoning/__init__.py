"""Checks of a data set for what somebody may have put into it, each with a stated budget of false alarms."""
