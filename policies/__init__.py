"""The domain: what a policy is and how it may change. Data in, decisions out."""
