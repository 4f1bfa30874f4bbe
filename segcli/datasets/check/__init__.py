"""The data doctor, in the order of its work: kinds of findings, scan, judgement, report, fix."""
