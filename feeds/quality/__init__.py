"""What is wrong with rows, before anybody learns from them: checks, and a report for terminal, machine and browser."""
