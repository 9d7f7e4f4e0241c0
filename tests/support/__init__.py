"""What several tests share: fakes we own and scripted processes, one module each."""
