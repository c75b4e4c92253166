"""Audits of a dataset: what, besides attacks, tells its attack flows from its benign flows, before anyone believes a
number."""

from datasets_registry.audits.audit import AUDIT_VERSION, audit_store

__all__ = ["AUDIT_VERSION", "audit_store"]
