"""The node control agent: follows its host's and its VPCs' streams and programs the node."""
