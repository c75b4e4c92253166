"""The built-in synthetic suite: four sites, written as real captures with labels by a traffic simulator.

``randomness`` draws, ``network`` says what hosts and paths are, ``tcp`` and ``datagrams`` turn application writes into
packets.  Benign applications are in ``sessions``, ``web``, ``services``, ``remote`` and ``industrial``, attacks in
``scans``, ``floods``, ``guessing`` and ``stealth``.  ``scene`` is one capture in the making, ``trace`` its packets and
flows, ``frames`` and ``containers`` its bytes.  ``plan`` is the vocabulary of ``sites``, and ``suite`` writes them.

It is synthetic: it exercises the harness and says nothing about the real world.
"""
