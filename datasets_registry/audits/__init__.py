"""Audits of a dataset: what, besides attacks, tells its attack flows from its benign flows, before anyone believes a
number."""
