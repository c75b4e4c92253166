"""Packet columns → bidirectional flows, ragged sequences and the 20 flow features."""
