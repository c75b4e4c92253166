"""The built-in synthetic suite: four sites, written as real captures with labels by a traffic simulator.

``randomness`` draws, ``network`` says what hosts and paths are, ``tcp`` and ``datagrams`` turn application writes into packets; ``sessions``,
``web``, ``services``, ``remote`` and ``industrial`` are the benign applications, ``scans``, ``floods``, ``guessing`` and ``stealth`` the attacks; ``scene`` is
one capture in the making, ``trace`` its packets and flows, ``frames`` and ``containers`` its bytes; ``plan`` is the vocabulary of ``sites``, and
``suite`` writes them.

It is synthetic: it exercises the harness and compares nothing with the real world.
"""
