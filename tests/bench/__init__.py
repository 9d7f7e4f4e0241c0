"""`make bench`: what peergate costs, each figure beside what the machine itself allows, measured in the same run."""
